/* SPDX-License-Identifier: MIT */
/*
 * The relay of scheduler statistics: a second port of the host, and the socket at which scx schedulers serve
 * their statistics.
 *
 * Both sides speak lines of JSON, of at most STATS_LINE_MAX bytes each. The relay does not look into them; it
 * hands one request at a time to the scheduler and one answer back. For every line from the host exactly one
 * goes back, whatever happens, because answers carry no number: a host that stopped waiting knows how many
 * lines are still to come. What the scheduler does not answer the relay does:
 *
 *   {"ktstr_relay_error":"no scheduler","detail":"..."}   no server at the socket
 *                        "timeout"                        nothing came in STATS_WITHIN_NS
 *                        "closed"                         the scheduler hung up
 *                        "busy"                           it does not accept connections
 *                        "request too large", "response too large"
 *
 * The connection is kept between requests, since schedulers count some values from one request of a connection
 * to the next. One that was left behind by an earlier scheduler is noticed when it is used, and the relay connects once more.
 */
#ifndef KTSTR_AGENT_STATS_H
#define KTSTR_AGENT_STATS_H

#define STATS_PORT_NAME "ktstr-stats"
#define STATS_SOCKET "/var/run/scx/root/stats"
#define STATS_LINE_MAX (256u << 10) // the newline not counted

void stats_init(void); // register with the loop, which does the rest

#endif

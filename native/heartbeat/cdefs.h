// What Python sees of the heartbeat code: declarations in cffi's dialect, equal to those of the headers.

// heartbeat/ktstr_vlp.h
struct ktv_beat {
	uint64_t timestamp;
	uint64_t nonce;
	uint32_t pid;
	uint32_t payload;
	uint32_t status;
	uint32_t reserved;
};

uint32_t ktv_crc32c(uint32_t crc, const void *data, size_t length);
uint32_t ktv_crc32c_tables(uint32_t crc, const void *data, size_t length);
void ktv_encode(const struct ktv_beat *beat, uint8_t *frame);
int ktv_check(const uint8_t *frame, size_t length);
int ktv_decode(const uint8_t *frame, size_t length, struct ktv_beat *beat);

// heartbeat/ktstr_probe.h
#define KTB_MAX_PROBE ...
#define KTB_MAX_SLOT ...
struct ktb_probe {
	uint32_t mask;
	uint32_t live;
	uint64_t exhausted;
	...;
};

struct ktb_probe *ktb_probe_create(uint32_t capacity);
void ktb_probe_destroy(struct ktb_probe *p);
uint32_t ktb_probe_get(const struct ktb_probe *p, uint32_t key);
bool ktb_probe_insert(struct ktb_probe *p, uint32_t key, uint32_t slot);
uint32_t ktb_probe_remove(struct ktb_probe *p, uint32_t key);
uint32_t ktb_mix32(uint32_t x);

// heartbeat/ktstr_tracker.h
struct ktb_source {
	uint64_t pid_ns_inode;
	uint64_t generation;
	uint32_t origin;
	uint32_t known;
};

struct ktb_slot {
	uint64_t last_ns;
	uint64_t nonce;
	uint64_t timestamp;
	uint64_t terminal_timestamp;
	uint64_t pid_ns_inode;
	uint64_t generation;
	uint64_t beats;
	uint64_t nonce_gaps;
	uint64_t beats_missed;
	uint64_t stalls;
	uint32_t pid;
	uint32_t payload;
	uint16_t status;
	uint16_t origin;
	uint32_t flags;
};

struct ktb_state {
	uint64_t counts[15];
	uint32_t capacity;
	uint32_t tracked;
	uint32_t stalled;
	uint32_t scan_window;
	uint32_t cursor;
	uint32_t reserved;
};

struct ktb_datagram {
	uint8_t bytes[40];
	struct ktb_source source;
	uint32_t length;
	uint32_t peer_pid;
	uint32_t peer_uid;
	uint32_t reserved;
};

struct ktb_outcome {
	struct ktv_beat beat;
	uint64_t recovery_ns;
	uint32_t error;
	uint32_t update;
};

struct ktb_tracker;
struct ktb_tracker *ktb_tracker_create(uint32_t capacity, bool balanced, uint32_t scan_window);
void ktb_tracker_destroy(struct ktb_tracker *t);
int ktb_tracker_record_fields(struct ktb_tracker *t, uint32_t status, uint32_t pid, uint64_t timestamp, uint64_t nonce,
			      uint32_t payload, uint64_t now_ns, uint64_t threshold_ns, uint32_t origin,
			      uint32_t known, uint64_t pid_ns_inode, uint64_t generation);
uint64_t ktb_tracker_last_recovery(const struct ktb_tracker *t);
uint32_t ktb_tracker_record_batch(struct ktb_tracker *t, const struct ktb_datagram *in, uint32_t count, uint64_t now_ns,
				  uint64_t threshold_ns, struct ktb_outcome *out, uint32_t *notable);
uint32_t ktb_tracker_drain(struct ktb_tracker *t, uint64_t now_ns, uint64_t threshold_ns);
const uint32_t *ktb_tracker_drained(const struct ktb_tracker *t);
bool ktb_tracker_forget(struct ktb_tracker *t, uint32_t pid);
const struct ktb_slot *ktb_tracker_get(const struct ktb_tracker *t, uint32_t pid);
const struct ktb_slot *ktb_tracker_slots(const struct ktb_tracker *t);
uint64_t ktb_tracker_take(struct ktb_tracker *t, int counter);
int64_t ktb_tracker_take_evicted(struct ktb_tracker *t);
void ktb_tracker_state(const struct ktb_tracker *t, struct ktb_state *ret);

// heartbeat/ktstr_recv.h
struct ktr_received {
	uint32_t taken;
	uint32_t count;
	uint32_t control_truncated;
	uint32_t without_credentials;
	uint32_t closed_descriptors;
	int32_t error;
};

struct ktr_receiver;
struct ktr_receiver *ktr_receiver_create(void);
void ktr_receiver_destroy(struct ktr_receiver *r);
void ktr_receive(struct ktr_receiver *r, int fd, bool credentials, uint32_t origin, struct ktb_datagram *out,
		 uint32_t room, struct ktr_received *ret);
uint32_t ktr_receive_bare(struct ktr_receiver *r, int fd, uint32_t room);

// heartbeat/ktstr_gate.h
struct ktr_rules {
	uint64_t min_interval_ns;
	uint64_t beats_per_s;
	uint64_t burst;
	uint64_t pid_ns_inode;
	uint64_t identity_ttl_ns;
	uint32_t pid_max;
	uint32_t uid;
	uint32_t check_uid;
	uint32_t reserved;
};

struct ktr_gate_state {
	uint64_t errors[16];
	uint64_t lookups;
	uint64_t unreadable;
	uint64_t milli_tokens;
};

struct ktr_gate;
struct ktr_gate *ktr_gate_create(const struct ktr_rules *rules);
void ktr_gate_destroy(struct ktr_gate *g);
void ktr_gate_set_pid_max(struct ktr_gate *g, uint32_t pid_max);
uint32_t ktr_gate_pass(struct ktr_gate *g, struct ktb_tracker *t, struct ktb_datagram *in, uint32_t count, uint64_t now_ns,
		       uint64_t threshold_ns, struct ktb_outcome *out, uint32_t *notable, uint32_t told);
bool ktr_any_due(const struct ktb_tracker *t, uint64_t now_ns, uint64_t threshold_ns);
void ktr_datagrams_of_frames(const uint8_t *frames, uint32_t count, uint32_t origin, struct ktb_datagram *out);
void ktr_gate_state(const struct ktr_gate *g, struct ktr_gate_state *ret);

// heartbeat/ktstr_send.h
struct ktr_sent {
	uint64_t sent;
	uint64_t refused;
	uint64_t failed;
	uint64_t last_nonce;
	int32_t error;
};

void ktr_send_beats(int fd, uint32_t pid, uint64_t period_ns, uint32_t burst, uint64_t duration_ns, bool wait,
		    struct ktr_sent *ret);

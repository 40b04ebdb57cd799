// PID 1 of a guest with many sleeping tasks: starts them, then becomes the program that answers questions.
//
// Each kind of sleep is another path through the kernel, so that unwinding has something to show.

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLEEPERS 60

static void sleep_somehow(int kind)
{
	static int word;
	char byte;
	int pair[2];
	struct pollfd poller;
	struct epoll_event event;
	struct {
		long type;
		char text[8];
	} message;
	struct sembuf down = { 0, -1, 0 };
	sigset_t none;

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	switch (kind) {
	case 0:
		sleep(100000);
		break;
	case 1:
		read(pair[0], &byte, 1);
		break;
	case 2:
		poller.fd = pair[0];
		poller.events = POLLIN;
		poll(&poller, 1, -1);
		break;
	case 3:
		epoll_wait(epoll_create1(0), &event, 1, -1);
		break;
	case 4:
		syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
		break;
	case 5:
		sigemptyset(&none);
		sigsuspend(&none);
		break;
	case 6:
		pipe(pair);
		read(pair[0], &byte, 1);
		break;
	case 7:
		msgrcv(msgget(IPC_PRIVATE, 0600), &message, 0, 0, 0);
		break;
	case 8:
		semop(semget(IPC_PRIVATE, 1, 0600), &down, 1);
		break;
	case 9:
		if (!fork())
			pause();
		wait(NULL);
		break;
	case 10:
		listen(pair[0], 1);
		recv(pair[1], &byte, 1, MSG_WAITALL);
		break;
	default:
		raise(SIGSTOP);
		break;
	}
	for (;;)
		pause();
}

int main(void)
{
	char *arguments[] = { "/probe", NULL };

	for (int k = 0; k < SLEEPERS; k++)
		if (!fork())
			sleep_somehow(k % 12);
	execv(arguments[0], arguments);
	return 1;
}

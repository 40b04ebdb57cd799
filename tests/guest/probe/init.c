// PID 1 of the test guests: answers questions over the bulk port, one line each.
//
//   cat PATH          the content of a file
//   size PATH         the size of a file in bytes
//   write PATH TEXT   writes TEXT to a file
//   symbol NAME       the line of /proc/kallsyms
//   panic | poweroff | reboot | flood
//
// An answer is its length in decimal and a newline, then so many bytes.

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#define BULK_PORT "ktstr-bulk"
#define SAVED_PORT "ktstr-saved-boot"

static FILE *port;
static int may_be_saved;

static void answer(const char *data, size_t length)
{
	fprintf(port, "%zu\n", length);
	fwrite(data, 1, length, port);
	fflush(port);
}

static void answer_errno(void)
{
	const char *text = strerror(errno);

	answer(text, strlen(text));
}

static void cat(const char *path)
{
	static char data[1 << 20];
	size_t length = 0;
	ssize_t n;
	int fd = open(path, O_RDONLY);

	if (fd < 0) {
		answer_errno();
		return;
	}
	while (length < sizeof(data) && (n = read(fd, data + length, sizeof(data) - length)) > 0)
		length += n;
	close(fd);
	answer(data, length);
}

static void size(const char *path)
{
	char text[32];
	struct stat status;

	if (stat(path, &status) < 0)
		answer_errno();
	else
		answer(text, snprintf(text, sizeof(text), "%lld", (long long)status.st_size));
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		answer_errno();
	else
		answer("ok", 2);
	if (fd >= 0)
		close(fd);
}

static void symbol(const char *name)
{
	char line[512], found[256];
	FILE *file = fopen("/proc/kallsyms", "r");

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%*s %*s %255s", found) == 1 && !strcmp(found, name)) {
			answer(line, strlen(line));
			fclose(file);
			return;
		}
	}
	if (file)
		fclose(file);
	answer("", 0);
}

static FILE *open_port(const char *wanted)
{
	for (;;) {
		for (int number = 1; number <= 3; number++) {
			char path[64], name[64] = "";
			FILE *file;

			snprintf(path, sizeof(path), "/sys/class/virtio-ports/vport0p%d/name", number);
			file = fopen(path, "r");
			if (!file || !fgets(name, sizeof(name), file))
				continue;
			fclose(file);
			name[strcspn(name, "\n")] = 0;
			if (!strcmp(name, SAVED_PORT))
				may_be_saved = 1;
			snprintf(path, sizeof(path), "/dev/vport0p%d", number);
			if (strcmp(name, wanted) || !(file = fopen(path, "r+")))
				continue;
			setvbuf(file, NULL, _IOLBF, 1 << 16);
			return file;
		}
		usleep(1000);
	}
}

// Where the machine has a port for it, wait until the boot is saved, or was: as native/agent/saved.c does.
static void pass_boot(void)
{
	char line[256];
	FILE *saved;

	if (!may_be_saved)
		return;
	saved = open_port(SAVED_PORT);
	fputs("booted\n", saved);
	fflush(saved);
	fseek(saved, 0, SEEK_CUR);
	fgets(line, sizeof(line), saved);
	fclose(saved);
}

static void flood(void)
{
	int console = open("/dev/ttyS0", O_WRONLY);

	for (;;)
		if (write(console, "\033[2J\007flood", 10) < 0)
			usleep(1000);
}

static void serve(char *line)
{
	char *rest = strchr(line, ' ');

	if (rest)
		*rest++ = 0;
	if (!strcmp(line, "cat") && rest) {
		cat(rest);
	} else if (!strcmp(line, "size") && rest) {
		size(rest);
	} else if (!strcmp(line, "symbol") && rest) {
		symbol(rest);
	} else if (!strcmp(line, "write") && rest && strchr(rest, ' ')) {
		char *text = strchr(rest, ' ');

		*text++ = 0;
		write_text(rest, text);
	} else if (!strcmp(line, "panic")) {
		write_text("/proc/sysrq-trigger", "c");
	} else if (!strcmp(line, "poweroff")) {
		reboot(RB_POWER_OFF);
	} else if (!strcmp(line, "reboot")) {
		reboot(RB_AUTOBOOT);
	} else if (!strcmp(line, "flood")) {
		flood();
	} else {
		answer("?", 1);
	}
}

int main(void)
{
	char line[1024];

	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	port = open_port(BULK_PORT);
	pass_boot();
	answer("ready", 5);
	for (;;) {
		if (!fgets(line, sizeof(line), port)) {
			clearerr(port);
			usleep(1000);
			continue;
		}
		line[strcspn(line, "\n")] = 0;
		fseek(port, 0, SEEK_CUR);
		serve(line);
	}
}

// SPDX-License-Identifier: GPL-2.0
/*
 * The guest's first process: mounts, then an agent that takes dom0's commands on the console. In
 * a guest that runs systemd it is only the agent.
 *
 * dom0 sends      run ID SHELL-SCRIPT     with \n and \\ for characters that do not fit into a line
 *            or  kill ID SIGNAL
 * and receives   @ID a line of output     #ID exit status         %a kernel log record
 *
 * The kernel itself writes only emergencies to the console. All other records come through
 * /dev/kmsg. Starting a program takes long here, so this is not a shell script.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/random.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* Jobs at the same time. */
#define JOBS 256
/* Log records that are read before other work is done. */
#define RECORDS 64

/* For interactive use at the console. */
#define SHELL "stty sane; modprobe xensock 2>/dev/null; " \
	"echo \"This is guest $(hostname). The test programs are in /usr/lib/xensock.\"; " \
	"while :; do setsid cttyhack sh -l; done"

struct text {
	char *data;
	size_t len, room;
};

/* A job. It has ended once its first process has, and no process can write its output any more. */
struct job {
	long id;
	pid_t pid;	/* also the session ID */
	int fd;		/* -1 after the end of its output */
	int status;	/* -1 until it has exited */
	struct text line;
};

static struct job jobs[JOBS];
static int count;
static int console;

static void die(const char *what)
{
	dprintf(console, "init: %s: %s\n", what, strerror(errno));
	for (;;)
		pause();
}

static void append(struct text *text, const char *data, size_t len)
{
	if (text->len + len > text->room) {
		text->room = 2 * (text->len + len);
		text->data = realloc(text->data, text->room);
		if (!text->data)
			die("realloc");
	}
	memcpy(text->data + text->len, data, len);
	text->len += len;
}

/* Console */

static void write_console(const char *data, size_t len)
{
	while (len) {
		ssize_t written = write(console, data, len);

		if (written < 0 && errno != EINTR && errno != EAGAIN)
			die("console");
		if (written > 0) {
			data += written;
			len -= written;
		}
	}
}

__attribute__((format(printf, 1, 2)))
static void print_line(const char *format, ...)
{
	char line[64];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	write_console(line, len);
}

/* Jobs */

static struct job *find_job(long id)
{
	for (int i = 0; i < count; i++)
		if (jobs[i].id == id)
			return &jobs[i];
	return NULL;
}

static void run(long id, char *script)
{
	struct job *job = &jobs[count];
	sigset_t none;
	int fds[2];

	if (count == JOBS || pipe2(fds, O_CLOEXEC) < 0)
		die("too many jobs");
	*job = (struct job){ .id = id, .fd = fds[0], .status = -1 };
	job->pid = fork();
	if (job->pid < 0)
		die("fork");
	if (!job->pid) {
		setsid();
		dup2(open("/dev/null", O_RDONLY), 0);
		dup2(fds[1], 1);
		dup2(fds[1], 2);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		execl("/bin/sh", "sh", "-c", script, NULL);
		_exit(127);
	}
	close(fds[1]);
	count++;
}

static void finish_job(struct job *job)
{
	if (job->fd >= 0 || job->status < 0)
		return;
	print_line("#%ld %d\n", job->id, job->status);
	free(job->line.data);
	*job = jobs[--count];
}

/* Sends a line in one write, adding the newline that the last line may lack. */
static void send_output(struct job *job)
{
	struct text whole = {};
	char id[32];

	append(&whole, id, snprintf(id, sizeof(id), "@%ld ", job->id));
	append(&whole, job->line.data, job->line.len);
	append(&whole, "\n", 1);
	write_console(whole.data, whole.len);
	free(whole.data);
	job->line.len = 0;
}

static void read_output(struct job *job)
{
	char data[4096], *from = data, *end;
	ssize_t got = read(job->fd, data, sizeof(data));

	if (got < 0 && errno == EINTR)
		return;
	if (got <= 0) {
		if (job->line.len)
			send_output(job);
		close(job->fd);
		job->fd = -1;
		finish_job(job);
		return;
	}
	while ((end = memchr(from, '\n', data + got - from))) {
		append(&job->line, from, end - from);
		send_output(job);
		from = end + 1;
	}
	append(&job->line, from, data + got - from);
}

static void reap(void)
{
	int status;
	pid_t pid;

	/* Orphans become children of this process. */
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (int i = 0; i < count; i++) {
			if (jobs[i].pid != pid || jobs[i].status >= 0)
				continue;
			jobs[i].status = WIFEXITED(status) ? WEXITSTATUS(status)
							   : 128 + WTERMSIG(status);
			finish_job(&jobs[i]);
			break;
		}
	}
}

/* Commands of dom0 */

/* kselftests give each test a process group of its own, which stays in the session. */
static void kill_session(pid_t session)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	char path[300], stat[512], *end;
	int fd, of, pid;
	ssize_t got;

	if (!proc)
		die("/proc");
	while ((entry = readdir(proc))) {
		pid = atoi(entry->d_name);
		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		fd = pid ? open(path, O_RDONLY | O_CLOEXEC) : -1;
		if (fd < 0)
			continue;
		got = read(fd, stat, sizeof(stat) - 1);
		close(fd);
		stat[got < 0 ? 0 : got] = 0;
		/* PID (NAME) STATE PARENT GROUP SESSION; dead processes can only be reaped. */
		end = strrchr(stat, ')');
		if (end && end[1] && end[2] != 'Z' && end[2] != 'X' &&
		    sscanf(end + 3, "%*d %*d %d", &of) == 1 && of == session)
			kill(pid, SIGKILL);
	}
	closedir(proc);
}

static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (*text == '\\')
			*to++ = *++text == 'n' ? '\n' : *text;
		else
			*to++ = *text;
	}
	*to = 0;
}

static void run_command(char *line)
{
	struct job *job;
	int at = 0, sig;
	long id;

	if (sscanf(line, "run %ld %n", &id, &at) == 1 && at) {
		unescape(line + at);
		run(id, line + at);
	} else if (sscanf(line, "kill %ld %d", &id, &sig) == 2) {
		job = find_job(id);
		if (job && sig != SIGKILL)
			kill(-job->pid, sig);
		/* Twice, as a process may have made another one meanwhile. */
		for (int i = 0; job && sig == SIGKILL && i < 2; i++)
			kill_session(job->pid);
	}
}

static void read_commands(void)
{
	static struct text line;
	char data[4096], *from = data, *end;
	ssize_t got = read(console, data, sizeof(data));

	if (got < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0)
		die("console");
	while ((end = memchr(from, '\n', data + got - from))) {
		append(&line, from, end + 1 - from);
		line.data[line.len - 1] = 0;
		run_command(line.data);
		line.len = 0;
		from = end + 1;
	}
	append(&line, from, data + got - from);
}

/* Sends the first line of each kernel log record up to this level, one record for each read. */
static void read_log(int log, int records, long level)
{
	char record[8192] = "%";

	for (int i = 0; i < records; i++) {
		ssize_t got = read(log, record + 1, sizeof(record) - 2);
		char *end;

		if (got < 0 && errno == EPIPE)
			continue; /* some were overwritten */
		if (got <= 0)
			return;
		record[1 + got] = 0;
		if ((strtol(record + 1, NULL, 10) & 7) > level)
			continue;
		end = strchrnul(record, '\n');
		*end = '\n';
		write_console(record, end + 1 - record);
	}
}

static void agent(void)
{
	struct pollfd fds[3 + JOBS];
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fds[0].fd = console;
	fds[1].fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	fds[2].fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	/*
	 * From the boot only records above informational level: sending all takes longer than
	 * booting.
	 */
	read_log(fds[2].fd, INT_MAX, 5);
	print_line("!ready\n");
	for (;;) {
		struct signalfd_siginfo info;
		int n = 3;

		for (int i = 0; i < count; i++)
			fds[n++].fd = jobs[i].fd;
		for (int i = 0; i < n; i++)
			fds[i].events = POLLIN;
		if (poll(fds, n, -1) < 0 && errno != EINTR)
			die("poll");
		/* From the end: the place of a job that ends is taken by the last job. */
		for (int i = n - 1; i >= 3; i--)
			if (fds[i].fd >= 0 && fds[i].revents)
				read_output(&jobs[i - 3]);
		if (fds[2].revents)
			read_log(fds[2].fd, RECORDS, 7);
		if (fds[1].revents) {
			while (read(fds[1].fd, &info, sizeof(info)) > 0)
				;
			reap();
		}
		if (fds[0].revents)
			read_commands();
	}
}

static void make_tree(void)
{
	static const struct {
		const char *type, *path;
	} mounts[] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" },
		{ "devpts", "/dev/pts" }, { "tmpfs", "/dev/shm" }, { "tmpfs", "/run" },
		{ "tmpfs", "/tmp" }, { "debugfs", "/sys/kernel/debug" },
	};

	mkdir("/root", 0755);
	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].path, 0755);
		mount(mounts[i].type, mounts[i].path, mounts[i].type, 0, NULL);
	}
	if (symlink("/proc/self/fd", "/dev/fd") || symlink("fd/0", "/dev/stdin") ||
	    symlink("fd/1", "/dev/stdout") || symlink("fd/2", "/dev/stderr"))
		die("symlink");
}

static void set_name(const char *line)
{
	const char *name = strstr(line, " name=");

	if (!name)
		return;
	name += strlen(" name=");
	if (sethostname(name, strcspn(name, " ")))
		die("sethostname");
}

/* Credits entropy: nothing here is secret, and programs would wait for it for a second or more. */
static void make_random(const char *line)
{
	/* The layout of struct rand_pool_info. */
	struct {
		int bits, size;
		struct timespec now;
		char line[256];
	} pool = { .bits = 256, .size = sizeof(pool.now) + sizeof(pool.line) };
	int fd = open("/dev/urandom", O_RDWR);

	clock_gettime(CLOCK_REALTIME, &pool.now);
	memcpy(pool.line, line, sizeof(pool.line));
	if (ioctl(fd, RNDADDENTROPY, &pool))
		die("random");
	close(fd);
}

static void loopback_up(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (ioctl(fd, SIOCSIFFLAGS, &lo))
		die("lo");
	close(fd);
}

static void begin(void)
{
	char line[4096] = " ";
	int fd;

	make_tree();
	fd = open("/proc/cmdline", O_RDONLY);
	if (read(fd, line + 1, sizeof(line) - 2) <= 0)
		die("cmdline");
	close(fd);
	line[strcspn(line, "\n")] = ' ';
	set_name(line);
	make_random(line);
	loopback_up();
	if (strstr(line, " shell ")) {
		fd = open("/dev/hvc0", O_RDWR | O_NOCTTY);
		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		execl("/bin/sh", "sh", "-c", SHELL, NULL);
	}
}

int main(void)
{
	struct termios raw;

	clearenv();
	setenv("PATH", "/usr/lib/xensock:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
	setenv("TERM", "linux", 1);
	if (getpid() == 1)
		begin();
	console = open("/dev/hvc0", O_RDWR | O_NOCTTY | O_CLOEXEC);
	tcgetattr(console, &raw);
	cfmakeraw(&raw);
	tcsetattr(console, TCSANOW, &raw);
	agent();
}

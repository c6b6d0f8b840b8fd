// SPDX-License-Identifier: GPL-2.0
/* Xen's interfaces for user space: xenstore, grants, event channels. */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "raw.h"
#include "util.h"

/* include/uapi/xen/{gntalloc,gntdev,evtchn}.h */
#define ALLOC_GREF _IOC(_IOC_NONE, 'G', 5, 24)
#define MAP_GRANT_REF _IOC(_IOC_NONE, 'G', 0, 24)

struct alloc_gref {
	__u16 domid;
	__u16 flags;
	__u32 count;
	__u64 index;
	__u32 refs[];
};

struct map_grant_ref {
	__u32 count;
	__u32 pad;
	__u64 index;
	struct {
		__u32 domid;
		__u32 ref;
	} refs[512];
};

#define BIND_INTERDOMAIN _IOC(_IOC_NONE, 'E', 1, 8)
#define BIND_UNBOUND_PORT _IOC(_IOC_NONE, 'E', 2, 4)
#define UNBIND_PORT _IOC(_IOC_NONE, 'E', 3, 4)
#define NOTIFY_PORT _IOC(_IOC_NONE, 'E', 4, 4)

/* include/xen/interface/io/xs_wire.h */
enum { XS_READ = 2, XS_WRITE = 11, XS_RM = 13, XS_ERROR = 16 };

struct xs_message {
	__u32 type;
	__u32 req_id;
	__u32 tx_id;
	__u32 len;
};

void sleep_usec(unsigned int usec)
{
	struct timespec ts = { .tv_nsec = usec * 1000 };

	nanosleep(&ts, NULL);
}

/* Returns the length of the reply's payload, or -1. */
static ssize_t xs_talk(__u32 type, const void *data, size_t len, char *reply,
		       size_t size)
{
	static int file = -1;
	char buffer[sizeof(struct xs_message) + PAGE];
	struct xs_message *message = (void *)buffer;
	size_t have = 0, want = sizeof(*message);
	ssize_t n;

	if (file < 0)
		file = open("/dev/xen/xenbus", O_RDWR | O_CLOEXEC);
	if (file < 0 || len > PAGE)
		return -1;
	*message = (struct xs_message){ .type = type, .len = len };
	memcpy(message + 1, data, len);
	if (write(file, buffer, sizeof(*message) + len) < 0)
		return -1;
	while (have < want) {
		n = read(file, buffer + have, want - have);
		if (n <= 0)
			return -1;
		have += n;
		if (have == sizeof(*message))
			want += message->len;
	}
	if (message->type == XS_ERROR)
		return -1;
	n = message->len < size ? message->len : size;
	memcpy(reply, message + 1, n);
	return n;
}

bool xs_write(const char *path, const char *format, ...)
{
	char data[PAGE], reply[16];
	size_t len = strlen(path) + 1;
	va_list args;

	memcpy(data, path, len);
	va_start(args, format);
	len += vsnprintf(data + len, sizeof(data) - len, format, args);
	va_end(args);
	return xs_talk(XS_WRITE, data, len, reply, sizeof(reply)) >= 0;
}

bool xs_read(const char *path, char *value, size_t size)
{
	ssize_t n = xs_talk(XS_READ, path, strlen(path) + 1, value, size - 1);

	value[n < 0 ? 0 : n] = 0;
	return n >= 0;
}

bool xs_remove(const char *path)
{
	char reply[16];

	return xs_talk(XS_RM, path, strlen(path) + 1, reply,
		       sizeof(reply)) >= 0;
}

enum state xs_state(const char *dir)
{
	char path[160], value[32];

	snprintf(path, sizeof(path), "%s/state", dir);
	return xs_read(path, value, sizeof(value)) ? atoi(value) : UNKNOWN;
}

bool xs_wait_state(const char *dir, enum state state)
{
	__u64 deadline = now_msec() + TIMEOUT_MSEC;

	while (xs_state(dir) != state) {
		if (now_msec() > deadline) {
			fprintf(stderr, "# %s stays in state %d, not %d\n", dir,
				xs_state(dir), state);
			return false;
		}
		sleep_usec(2000);
	}
	return true;
}

bool pages_grant(struct pages *p, unsigned int domid, unsigned int count,
		 bool writable)
{
	struct alloc_gref *alloc;

	memset(p, 0, sizeof(*p));
	p->file = open("/dev/xen/gntalloc", O_RDWR | O_CLOEXEC);
	alloc = calloc(1, sizeof(*alloc) + count * sizeof(__u32));
	if (p->file < 0 || !alloc)
		return false;
	alloc->domid = domid;
	alloc->flags = writable;
	alloc->count = count;
	if (ioctl(p->file, ALLOC_GREF, alloc)) {
		fprintf(stderr, "# no grants: %m\n");
		return false;
	}
	p->count = count;
	p->refs = alloc->refs;
	p->mem = mmap(NULL, (size_t)count * PAGE, PROT_READ | PROT_WRITE,
		      MAP_SHARED, p->file, alloc->index);
	return p->mem != MAP_FAILED;
}

void pages_free(struct pages *p)
{
	if (!p->refs)
		return;
	munmap(p->mem, (size_t)p->count * PAGE);
	close(p->file);
	free((char *)p->refs - offsetof(struct alloc_gref, refs));
	p->refs = NULL;
}

void *pages_map(unsigned int domid, const __u32 *refs, unsigned int count)
{
	static struct map_grant_ref op;
	int file = open("/dev/xen/gntdev", O_RDWR | O_CLOEXEC);
	unsigned int i;
	void *mem;

	op.count = count;
	for (i = 0; i < count; i++) {
		op.refs[i].domid = domid;
		op.refs[i].ref = refs[i];
	}
	if (file < 0)
		return NULL;
	if (ioctl(file, MAP_GRANT_REF, &op)) {
		close(file);
		return NULL;
	}
	mem = mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED,
		   file, op.index);
	/* The mapping keeps the file open. */
	close(file);
	return mem == MAP_FAILED ? NULL : mem;
}

void pages_unmap(void *mem, unsigned int count)
{
	if (mem)
		munmap(mem, (size_t)count * PAGE);
}

__u32 evtchn_bind(int file, unsigned int domid, __u32 remote)
{
	unsigned int op[2] = { domid, remote };
	int local = ioctl(file, BIND_INTERDOMAIN, op);

	return local < 0 ? 0 : local;
}

int evtchn_open(void)
{
	return open("/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
}

__u32 evtchn_alloc(int file, unsigned int domid)
{
	int port = ioctl(file, BIND_UNBOUND_PORT, &domid);

	return port < 0 ? 0 : port;
}

void evtchn_notify(int file, __u32 port)
{
	ioctl(file, NOTIFY_PORT, &port);
}

void evtchn_close(int file, __u32 port)
{
	ioctl(file, UNBIND_PORT, &port);
}

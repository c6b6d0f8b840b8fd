/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A XenSock frontend in user space: xenstore, grants and event channels from /dev/xen, and the wire
 * protocol word by word, so that a test can break any of its rules. See
 * Documentation/networking/xensock/protocol.rst.
 */
#ifndef XENSOCK_SELFTEST_RAW_H
#define XENSOCK_SELFTEST_RAW_H

#include <linux/types.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#include "kselftest.h"

#define PAGE 4096
#define SLOTS 32
#define DEVICE "device/xensock/0"

#define NO_RESPONSE (-9999)

/*
 * Limit of the waits for the backend. A busy machine may stand still for 20 seconds. The time limit
 * of a test is longer.
 */
#define TIMEOUT_MSEC 60000

enum state {
	UNKNOWN, INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING,
	CLOSED,
};

enum command {
	CONNECT, SOCKET, SHUTDOWN, RELEASE, BIND, LISTEN, ACCEPT, POLL,
	SETSOCKOPT, GETSOCKOPT, GETNAME, ATTACH, UNMAP, GROW,
	SHRINK, WITHDRAW, COMMANDS,
};

/* A slot of the commands ring. */
struct request {
	__u32 req_id;
	__u32 cmd;
	__u64 id;
	union {
		struct {
			__u32 domain;
			__u32 type;
			__u32 protocol;
			__u32 reserved;
			__u64 owner;
		} socket;
		struct {
			__u8 addr[28];
			__u32 len;
			__u32 flags;
			__u32 ref;
			__u32 evtchn;
		} connect;
		struct {
			__u8 reuse;
			__u8 abort;
		} release;
		struct {
			__u8 addr[28];
			__u32 len;
		} bind;
		struct {
			__u64 id_new;
			__u32 ref;
			__u32 evtchn;
		} accept;
		struct {
			__u32 ref;
			__u32 evtchn;
		} attach, unmap;
		struct {
			__u32 way;	/* 0 is in, 1 is out */
			__u32 order;
		} resize;
		struct {
			__u32 level;
			__u32 name;
			__u32 len;	/* SETSOCKOPT; GETSOCKOPT: offset */
			__u8 value[32];
		} option;
		__u32 how;
		__u32 backlog;
		__u32 peer;
		__u8 bytes[48];
	};
};

struct response {
	__u32 req_id;
	__u32 cmd;
	__s32 ret;
	__u32 reserved;
	__u64 id;
	union {
		struct {
			__u8 addr[28];
			__u32 len;
		};
		struct {
			__u8 value[32];
			__u32 total;
		};
		__u8 bytes[40];
	};
};

/* Words of the commands ring and of an indexes page, as indexes of 32-bit words. */
enum { REQ_PROD, REQ_EVENT, RSP_PROD, RSP_EVENT };

enum {
	IN_CONS, IN_PROD, IN_ERROR, STATUS = 5, NAME, NAME_LEN = 13,
	IN_SWITCH, OUT_CONS = 16, OUT_PROD, OUT_ERROR, OUT_SWITCH = 21,
	IN_GENERATION = 27, OUT_GENERATION, IN_FOLLOWED, OUT_FOLLOWED, WAITING,
	RING_ORDER = 32, REF, IN_REF = 512, OUT_REF = 768,
};

/* Xenstore: paths are relative to the domain's own directory, or absolute. */
bool xs_write(const char *path, const char *format, ...) __printf(2, 3);
bool xs_read(const char *path, char *value, size_t size);
bool xs_remove(const char *path);
enum state xs_state(const char *dir);
bool xs_wait_state(const char *dir, enum state state);

/* Pages of ours that the backend may map, or mapped pages of another domain. */
struct pages {
	int file;
	unsigned int count;
	__u64 index;
	__u32 *refs;
	char *mem;
};

bool pages_grant(struct pages *p, unsigned int domid, unsigned int count,
		 bool writable);
void pages_free(struct pages *p);
/* Maps pages of another domain. Returns NULL on failure. */
void *pages_map(unsigned int domid, const __u32 *refs, unsigned int count);
void pages_unmap(void *mem, unsigned int count);

/* Event channels. evtchn_alloc() returns a port that @domid may bind, or 0. */
int evtchn_open(void);
__u32 evtchn_alloc(int file, unsigned int domid);
/* Binds a channel that @domid has allocated. Returns our port, or 0. */
__u32 evtchn_bind(int file, unsigned int domid, __u32 remote);
void evtchn_notify(int file, __u32 port);
void evtchn_close(int file, __u32 port);

static inline __u32 load(const __u32 *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST);
}

static inline void store(__u32 *word, __u32 value)
{
	__atomic_store_n(word, value, __ATOMIC_SEQ_CST);
}

/* The features of the links that are made from now on. */
enum mode {
	PLAIN,		/* without any feature */
	BY_STATUS,	/* the results of CONNECT and ACCEPT come through the indexes page */
	PVCALLS,	/* the PV Calls dialect, over a device of that type */
	DATAGRAMS,	/* with datagram sockets */
	DATAGRAM_INFO,	/* and more information on datagrams than their addresses */
	REUSE,		/* rings are used again */
	URGENT,		/* urgent bytes are marked */
	RESIZE,		/* rings grow and shrink */
	SHARED_CHANNEL,	/* rings share a channel; also DATAGRAMS and REUSE */
};

extern enum mode raw_mode;

/* A link to the backend. */
struct link {
	enum mode mode;
	const char *front;
	char backend[128];
	unsigned int backend_id;
	int evtchn;
	__u32 port;
	struct pages page;
	struct pages news;
	__u32 news_port;
	__u32 next_slot;
	__u32 *words;
	struct request *slots;
	__u32 req_prod;
	__u32 rsp_cons;
	__u32 req_id;
	__u64 next_id;
	struct response kept[SLOTS];
	unsigned int n_kept;
};

/* Goes from any state to one where the backend is ready to connect. */
bool link_begin(struct link *l);
/* Goes from there to a link that is up. */
bool link_finish(struct link *l);
bool link_up(struct link *l);
void link_down(struct link *l);
/* Frees everything without notifying the backend. */
void link_drop(struct link *l);

/* With a shared channel: the offsets of one direction in the news page. */
struct news {
	unsigned int summary;
	unsigned int bits;
};

#define NEWS_SLOTS 8192

static const struct news news_in = { 0, 1024 }, news_out = { 64, 2048 };

/* The two steps of marking that a slot has news. They return true if the bit was clear. */
bool news_set(char *page, const struct news *d, __u32 slot);
bool news_summarize(char *page, const struct news *d, __u32 slot);
/* Clears the mark of a slot. Returns true if it was set. */
bool news_take(char *page, const struct news *d, __u32 slot);
/* Waits for the mark of a slot and clears it. */
bool news_wait(char *page, const struct news *d, __u32 slot);

/* Requests. do_request() waits for the response and returns its ret, or NO_RESPONSE. */
__u32 send_request(struct link *l, struct request *r);
int wait_response_to(struct link *l, __u32 req_id, struct response *response);
int do_request(struct link *l, struct request *r);
void put_slot(struct link *l, const void *slot);
bool take_response(struct link *l, struct response *response);
bool wait_response(struct link *l, struct response *response, int msec);

int req_socket(struct link *l, __u64 id);
int req_release(struct link *l, __u64 id, bool abort);
/* Sends SOCKET, this CONNECT and RELEASE. Returns the ret of CONNECT. */
int req_with_socket(struct link *l, struct request *r);

/* A connection. A test may break its ring before or after it is connected. */
struct raw_conn {
	__u64 id;
	struct pages pages;	/* the indexes page, then the data pages */
	__u32 *words;
	char *in;
	char *out;
	__u32 size;
	__u32 port;		/* or the slot, with a shared channel */
	__u32 in_cons;
	__u32 out_prod;
	__u32 req_id;	/* of the request that decides the outcome */
};

bool raw_ring(struct link *l, struct raw_conn *c, unsigned int order);
struct request raw_request(struct raw_conn *c, const char *host, unsigned int port);
/* Sends SOCKET and CONNECT. Returns the ret of the first that failed. */
int raw_connect(struct link *l, struct raw_conn *c, const char *host,
		unsigned int port);
bool raw_open(struct link *l, struct raw_conn *c, unsigned int order,
	      unsigned int port);
int raw_close(struct link *l, struct raw_conn *c, bool abort);
void raw_free(struct link *l, struct raw_conn *c);
/* RELEASE that keeps the ring for another connection; raw_renew() prepares the ring for it. */
int req_keep(struct link *l, struct raw_conn *c, bool abort);
void raw_renew(struct link *l, struct raw_conn *c);
int req_unmap(struct link *l, struct raw_conn *c);
/* Return the bytes moved: fewer if it took too long or the backend has ended the connection. */
size_t raw_send(struct link *l, struct raw_conn *c, const void *data, size_t len);
size_t raw_recv(struct link *l, struct raw_conn *c, void *data, size_t len);
void raw_notify(struct link *l, struct raw_conn *c);
bool raw_wait_error(struct raw_conn *c, unsigned int word);
/* Waits for the outcome of a request that was accepted, and for the name that comes with it. */
int raw_outcome(struct link *l, struct raw_conn *c, struct sockaddr_in *name);

/* A listening socket. */
struct raw_listener {
	__u64 id;
	unsigned int port;
};

/* Sends SOCKET, BIND to a port of the backend's choice, and LISTEN. */
bool raw_listen(struct link *l, struct raw_listener *s, unsigned int backlog);
/* Sends ACCEPT. Returns an immediate error; raw_outcome() has the rest. */
int raw_post(struct link *l, struct raw_listener *s, struct raw_conn *c);
/* Sends ACCEPT with a new ring of order 1. */
bool raw_post_new(struct link *l, struct raw_listener *s, struct raw_conn *c);
/* Makes both ends of a connection, and checks a stream from one end to the other. */
bool raw_pair(struct link *l, struct raw_listener *s, struct raw_conn *server,
	      struct raw_conn *client);
bool raw_transfer(struct link *l, struct raw_conn *from, struct raw_conn *to, size_t len);
int req_bind(struct link *l, __u64 id, const char *host, unsigned int port,
	     struct sockaddr_in *bound);
int req_listen(struct link *l, __u64 id, unsigned int backlog);
int req_shutdown(struct link *l, __u64 id, int how);
int req_name(struct link *l, __u64 id, bool remote, struct sockaddr_in *name);

/* The remote control of the peer over a raw connection, see util.h. */
struct raw_peer {
	struct raw_conn control;
	unsigned int port;
	char line[128];
};

/* Opens the peer's datagram socket. Returns its port, or 0. */
unsigned int raw_peer_udp(struct link *l, struct raw_peer *p,
			  const char *host);
bool raw_peer_open(struct link *l, struct raw_peer *p);
const char *raw_peer_run(struct link *l, struct raw_peer *p,
			 const char *text);
void raw_peer_send(struct link *l, struct raw_peer *p, const char *text);
const char *raw_peer_answer(struct link *l, struct raw_peer *p);

/* The header of each datagram in a ring. */
struct frame {
	__u32 len;
	__u16 type;	/* 0 is a datagram, 1 an error, 2 a datagram with an info */
	__u16 reserved;
	union {
		__u8 addr[28];
		__u32 error;
	};
	__u32 addr_len;
};

#define FRAME_LEN(len) ((sizeof(struct frame) + (len) + 7) & ~7U)

/* The block between header and payload in a frame of type 2 or 3. */
struct info {
	__u32 flags;
	__u8 tos;
	__u8 ttl;
	__u16 segment;
	__u32 drops;
	__u32 local_len;
	__u8 local[28];
	__u8 to[28];
	__u32 to_len;
	__u32 reserved;
};

enum { INFO_TOS = 1, INFO_TTL = 2, INFO_SEGMENT = 4, INFO_DROPS = 8 };

/* The info of the last datagram received that had one. */
extern struct info dgram_info;

/* Returns the number of bytes between the header of a frame and its payload. */
static inline __u32 frame_info_len(const struct frame *f)
{
	return f->type == 2 || f->type == 3 ? sizeof(struct info) : 0;
}

/* Makes a frame that a backend may send. @prod is the distance from its start to in_prod. */
bool raw_frame(const char *how, struct frame *f, struct info *info, __u32 *prod);

/* Datagram sockets. dgram_open() makes the ring and sends SOCKET and ATTACH. */
bool dgram_open(struct link *l, struct raw_conn *c, unsigned int order);
int req_dgram(struct link *l, __u64 id, __u32 domain);
int req_attach(struct link *l, struct raw_conn *c);
/* Without a host, the peer is forgotten. */
int req_connect(struct link *l, __u64 id, const char *host, unsigned int port,
		struct sockaddr_in *local);
struct frame dgram_frame(const char *host, unsigned int port, __u32 len);
/* Writes bytes into our half of the ring, wrapping around. */
void dgram_write(struct raw_conn *c, __u32 index, const void *data, size_t len);
/* Waits for room. The payload is the stream of @seed. A frame of type 2 or 3 has @info. */
bool dgram_put_info(struct link *l, struct raw_conn *c, const struct frame *f,
		    const struct info *info, __u64 seed);
bool dgram_put(struct link *l, struct raw_conn *c, const struct frame *f, __u64 seed);
/* Without a host, the datagram goes to the peer of the socket. */
bool dgram_send(struct link *l, struct raw_conn *c, const char *host,
		unsigned int port, __u32 len, __u64 seed);
/* Waits for a frame. Returns false if there is none or its payload is not that stream. */
bool dgram_recv(struct link *l, struct raw_conn *c, struct frame *f, __u64 seed);
/* The same for a frame that is already there. */
bool dgram_next(struct link *l, struct raw_conn *c, struct frame *f, __u64 seed);
/* Returns the errno of the next frame if it is an error, or 0. */
int dgram_error(struct link *l, struct raw_conn *c);
/* Waits until the backend has consumed the whole ring. */
bool dgram_drained(struct raw_conn *c);

/* Returns true if an exchange that keeps to all rules works. */
bool link_works(struct link *l);
/* The same over a new link. */
bool new_link_works(void);

void sleep_usec(unsigned int usec);

/* A thread that writes over memory until the end of a test. */
struct overwriter {
	pthread_t thread;
	__u32 *words;
	unsigned int count;
	atomic_bool stop;
};

void overwriter_start(struct overwriter *o, void *words, unsigned int count);
void overwriter_stop(struct overwriter *o);

#endif

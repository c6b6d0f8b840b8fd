/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of XenSock in the guest. The backend's tracepoints belong to the same system and have
 * their own header, because each module defines its own tracepoints.
 *
 * @id is the number of a socket in the protocol, unique in this guest. @device is the device that
 * carries the socket. An address has room for IPv6 and may be an IPv4 address; 0.0.0.0:0 means that
 * the address is unknown.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM xensock

#if !defined(_TRACE_XENSOCK_FRONT_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_XENSOCK_FRONT_H

#include <linux/in6.h>
#include <linux/tracepoint.h>

/*
 * The link with a backend was connected or lost, or it failed: it could not be set up, or the
 * backend broke the rules of the commands ring.
 */
TRACE_EVENT(xensock_link,
	TP_PROTO(const char *device, unsigned int backend, const char *state,
		 int error),
	TP_ARGS(device, backend, state, error),
	TP_STRUCT__entry(
		__string(device, device)
		__field(unsigned int, backend)
		__string(state, state)
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->backend = backend;
		__assign_str(state);
		__entry->error = error;
	),
	TP_printk("device=%s backend=%u state=%s error=%d", __get_str(device),
		  __entry->backend, __get_str(state), __entry->error)
);

/* A request was put into the commands ring. */
TRACE_EVENT(xensock_request,
	TP_PROTO(u32 req_id, const char *command, u64 id),
	TP_ARGS(req_id, command, id),
	TP_STRUCT__entry(
		__field(u32, req_id)
		__string(command, command)
		__field(u64, id)
	),
	TP_fast_assign(
		__entry->req_id = req_id;
		__assign_str(command);
		__entry->id = id;
	),
	TP_printk("req_id=%u command=%s id=%llu", __entry->req_id,
		  __get_str(command), __entry->id)
);

/* The backend has answered a request. */
TRACE_EVENT(xensock_response,
	TP_PROTO(u32 req_id, const char *command, u64 id, int error),
	TP_ARGS(req_id, command, id, error),
	TP_STRUCT__entry(
		__field(u32, req_id)
		__string(command, command)
		__field(u64, id)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->req_id = req_id;
		__assign_str(command);
		__entry->id = id;
		__entry->error = error;
	),
	TP_printk("req_id=%u command=%s id=%llu error=%d", __entry->req_id,
		  __get_str(command), __entry->id, __entry->error)
);

DECLARE_EVENT_CLASS(xensock_stream,
	TP_PROTO(const char *device, u64 id, const struct sockaddr_in6 *local,
		 const struct sockaddr_in6 *peer, int error),
	TP_ARGS(device, id, local, peer, error),
	TP_STRUCT__entry(
		__string(device, device)
		__field(u64, id)
		__array(__u8, local, sizeof(struct sockaddr_in6))
		__array(__u8, peer, sizeof(struct sockaddr_in6))
		__field(int, error)
	),
	TP_fast_assign(
		__assign_str(device);
		__entry->id = id;
		memcpy(__entry->local, local, sizeof(*local));
		memcpy(__entry->peer, peer, sizeof(*peer));
		__entry->error = error;
	),
	TP_printk("device=%s id=%llu local=%pISpc peer=%pISpc error=%d",
		  __get_str(device), __entry->id, __entry->local,
		  __entry->peer, __entry->error)
);

/* The connection attempt of a stream socket has succeeded or failed. */
DEFINE_EVENT(xensock_stream, xensock_connect,
	TP_PROTO(const char *device, u64 id, const struct sockaddr_in6 *local,
		 const struct sockaddr_in6 *peer, int error),
	TP_ARGS(device, id, local, peer, error)
);

/* A program has accepted a connection, or an ACCEPT has failed. */
DEFINE_EVENT(xensock_stream, xensock_accept,
	TP_PROTO(const char *device, u64 id, const struct sockaddr_in6 *local,
		 const struct sockaddr_in6 *peer, int error),
	TP_ARGS(device, id, local, peer, error)
);

/*
 * A socket of AF_INET or AF_INET6 was given to the backend or left native. @reason is one of
 * net.xensock.decisions.
 */
TRACE_EVENT(xensock_decision,
	TP_PROTO(const char *reason, const char *transport,
		 const struct sockaddr_in6 *addr),
	TP_ARGS(reason, transport, addr),
	TP_STRUCT__entry(
		__string(reason, reason)
		__string(transport, transport)
		__array(__u8, addr, sizeof(struct sockaddr_in6))
	),
	TP_fast_assign(
		__assign_str(reason);
		__assign_str(transport);
		memcpy(__entry->addr, addr, sizeof(*addr));
	),
	TP_printk("reason=%s transport=%s addr=%pISpc", __get_str(reason),
		  __get_str(transport), __entry->addr)
);

/*
 * The frontend asked to grow or shrink one direction of a data ring to @bytes bytes. @error is the
 * backend's answer.
 */
TRACE_EVENT(xensock_resize,
	TP_PROTO(u64 id, bool out, u32 bytes, int error),
	TP_ARGS(id, out, bytes, error),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(bool, out)
		__field(u32, bytes)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->out = out;
		__entry->bytes = bytes;
		__entry->error = error;
	),
	TP_printk("id=%llu way=%s bytes=%u error=%d", __entry->id,
		  __entry->out ? "out" : "in", __entry->bytes, __entry->error)
);

/*
 * A socket has ended and neither the program nor the network ended it: the link is lost, or the
 * backend broke the rules of the data ring.
 */
TRACE_EVENT(xensock_error,
	TP_PROTO(u64 id, int error, const char *what),
	TP_ARGS(id, error, what),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(int, error)
		__string(what, what)
	),
	TP_fast_assign(
		__entry->id = id;
		__entry->error = error;
		__assign_str(what);
	),
	TP_printk("id=%llu error=%d what=%s", __entry->id, __entry->error,
		  __get_str(what))
);

#endif /* _TRACE_XENSOCK_FRONT_H */

#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE xensock_front

/* This part must be outside protection */
#include <trace/define_trace.h>

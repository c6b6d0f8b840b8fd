/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the XenSock backend. The guest's tracepoints are in
 * xensock_front.h.
 *
 * @guest is a domain ID. @id is the number that the guest has given to a
 * socket. An address has room for IPv6 and may be an IPv4 address; 0.0.0.0:0
 * means that the address is unknown or that there is none.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM xensock

#if !defined(_TRACE_XENSOCK_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_XENSOCK_H

#include <linux/in6.h>
#include <linux/tracepoint.h>

/* The backend refused a request, a connection or a guest's socket. */
TRACE_EVENT(xensock_refused,
	TP_PROTO(unsigned int guest, const char *reason, int error,
		 const struct sockaddr_in6 *addr),
	TP_ARGS(guest, reason, error, addr),
	TP_STRUCT__entry(
		__field(unsigned int, guest)
		__string(reason, reason)
		__field(int, error)
		__array(__u8, addr, sizeof(struct sockaddr_in6))
	),
	TP_fast_assign(
		__entry->guest = guest;
		__assign_str(reason);
		__entry->error = error;
		memcpy(__entry->addr, addr, sizeof(*addr));
	),
	TP_printk("guest=%u reason=%s error=%d addr=%pISpc", __entry->guest,
		  __get_str(reason), __entry->error, __entry->addr)
);

/*
 * The link with a guest came up or went down, or could not be set up or kept.
 */
TRACE_EVENT(xensock_back_link,
	TP_PROTO(unsigned int guest, const char *state, int error),
	TP_ARGS(guest, state, error),
	TP_STRUCT__entry(
		__field(unsigned int, guest)
		__string(state, state)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->guest = guest;
		__assign_str(state);
		__entry->error = error;
	),
	TP_printk("guest=%u state=%s error=%d", __entry->guest,
		  __get_str(state), __entry->error)
);

/* A request was answered. @error is encoded as on the wire. */
TRACE_EVENT(xensock_back_command,
	TP_PROTO(unsigned int guest, u32 req_id, const char *command, u64 id,
		 int error),
	TP_ARGS(guest, req_id, command, id, error),
	TP_STRUCT__entry(
		__field(unsigned int, guest)
		__field(u32, req_id)
		__string(command, command)
		__field(u64, id)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->guest = guest;
		__entry->req_id = req_id;
		__assign_str(command);
		__entry->id = id;
		__entry->error = error;
	),
	TP_printk("guest=%u req_id=%u command=%s id=%llu error=%d",
		  __entry->guest, __entry->req_id, __get_str(command),
		  __entry->id, __entry->error)
);

DECLARE_EVENT_CLASS(xensock_back_stream,
	TP_PROTO(unsigned int guest, u64 id, const struct sockaddr_in6 *local,
		 const struct sockaddr_in6 *peer, int error),
	TP_ARGS(guest, id, local, peer, error),
	TP_STRUCT__entry(
		__field(unsigned int, guest)
		__field(u64, id)
		__array(__u8, local, sizeof(struct sockaddr_in6))
		__array(__u8, peer, sizeof(struct sockaddr_in6))
		__field(int, error)
	),
	TP_fast_assign(
		__entry->guest = guest;
		__entry->id = id;
		memcpy(__entry->local, local, sizeof(*local));
		memcpy(__entry->peer, peer, sizeof(*peer));
		__entry->error = error;
	),
	TP_printk("guest=%u id=%llu local=%pISpc peer=%pISpc error=%d",
		  __entry->guest, __entry->id, __entry->local, __entry->peer,
		  __entry->error)
);

/* A CONNECT that was under way has succeeded or failed. */
DEFINE_EVENT(xensock_back_stream, xensock_back_connect,
	TP_PROTO(unsigned int guest, u64 id, const struct sockaddr_in6 *local,
		 const struct sockaddr_in6 *peer, int error),
	TP_ARGS(guest, id, local, peer, error)
);

/* An ACCEPT has received a connection. @id is the socket that it made. */
DEFINE_EVENT(xensock_back_stream, xensock_back_accept,
	TP_PROTO(unsigned int guest, u64 id, const struct sockaddr_in6 *local,
		 const struct sockaddr_in6 *peer, int error),
	TP_ARGS(guest, id, local, peer, error)
);

/* A guest broke the rules of a ring. */
TRACE_EVENT(xensock_back_error,
	TP_PROTO(unsigned int guest, const char *what),
	TP_ARGS(guest, what),
	TP_STRUCT__entry(
		__field(unsigned int, guest)
		__string(what, what)
	),
	TP_fast_assign(
		__entry->guest = guest;
		__assign_str(what);
	),
	TP_printk("guest=%u what=%s", __entry->guest, __get_str(what))
);

#endif /* _TRACE_XENSOCK_H */

/* This part must be outside protection */
#include <trace/define_trace.h>

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints of the XenSock backend.
 */

#undef TRACE_SYSTEM
#define TRACE_SYSTEM xensock

#if !defined(_TRACE_XENSOCK_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_XENSOCK_H

#include <linux/in6.h>
#include <linux/tracepoint.h>

/* A guest was refused something. @addr has room for IPv6, and may be of IPv4. */
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

#endif /* _TRACE_XENSOCK_H */

/* This part must be outside protection */
#include <trace/define_trace.h>

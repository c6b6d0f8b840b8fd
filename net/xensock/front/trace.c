// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints of the guest. rust/kernel/xen/trace/xensock_front.rs calls
 * them.
 */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/xensock_front.h>

// SPDX-License-Identifier: GPL-2.0
/*
 * The tracepoints of the backend. rust/kernel/xen/trace/xensock_back.rs calls
 * them.
 */

#define CREATE_TRACE_POINTS
#define CREATE_RUST_TRACE_POINTS
#include <trace/events/xensock.h>

/* SPDX-License-Identifier: GPL-2.0 */
/* What bench and bench_server have to agree upon. */
#ifndef XENSOCK_BENCH_H
#define XENSOCK_BENCH_H

#define BENCH_PORT 90
#define PIECE (256 << 10)

/*
 * The first byte of a connection says what is measured. A sink answers the end
 * of what it takes with how many bytes that were.
 */
enum mode { SINK = 'i', SOURCE = 'o', ECHO = 'e' };

#endif

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

/*
 * So does the first byte of a datagram. One of a flood is counted, and the other answered
 * with the count since the last; what is neither is sent back.
 */
enum datagram { FLOOD = 'f', COUNT = 'c' };

#endif

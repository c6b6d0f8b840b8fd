/* SPDX-License-Identifier: GPL-2.0 */
/* The protocol between bench and bench_server. */
#ifndef XENSOCK_BENCH_H
#define XENSOCK_BENCH_H

#define BENCH_PORT 90
#define PIECE (256 << 10)

/*
 * The first byte of a connection selects the measurement. At the end of the
 * data a sink answers with the number of bytes.
 */
enum mode { SINK = 'i', SOURCE = 'o', ECHO = 'e' };

/*
 * The first byte of a datagram. FLOOD datagrams are counted, COUNT is answered
 * with the count since the last one, and all others are sent back.
 */
enum datagram { FLOOD = 'f', COUNT = 'c' };

#endif

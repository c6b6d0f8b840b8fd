/* SPDX-License-Identifier: GPL-2.0 */
/* The protocol between bench and bench_server. */
#ifndef XENSOCK_BENCH_H
#define XENSOCK_BENCH_H

#define BENCH_PORT 90
#define PIECE (256 << 10)

/*
 * The first byte of a connection selects the measurement. The data is zeros and
 * ends with a byte END: then a sink answers with the number of bytes before it.
 * This works without shutdown(), which PV Calls lacks.
 */
enum mode { SINK = 'i', SOURCE = 'o', ECHO = 'e' };
#define END 'z'

/*
 * The first byte of a datagram. FLOOD datagrams are counted, COUNT is answered
 * with the count since the last one, and all others are sent back.
 */
enum datagram { FLOOD = 'f', COUNT = 'c' };

#endif

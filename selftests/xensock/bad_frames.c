// SPDX-License-Identifier: GPL-2.0
/* Frames that a backend may put into the ring of a datagram socket. See raw.h. */
#include <string.h>

#include "raw.h"
#include "util.h"

#define IPV4 { 2, 0, 0, 9, 192, 0, 2, 1 }
/* The socket is one of IPv4. */
#define IPV6 { 10, [8] = 0x20, 0x01, 0x0d, 0xb8, [23] = 1 }

static const struct {
	const char *how;
	struct frame frame;
	__u32 prod;	/* 0: the length of the frame */
} frames[] = {
	{ "frame-good", { .len = 5, .addr = IPV4, .addr_len = 16 }, 0 },
	{ "frame-stall", { .len = 5, .addr = IPV4, .addr_len = 16 }, 0 },
	{ "frame-type", { .type = 2 }, 0 },
	{ "frame-type-huge", { .type = 0xffff }, 0 },
	{ "frame-len", { .len = 9 }, FRAME_LEN(8) },
	{ "frame-len-max", { .len = -1U }, FRAME_LEN(0) },
	{ "frame-len-wrap", { .len = -40U }, FRAME_LEN(0) },
	{ "frame-header", { 0 }, 8 },
	{ "frame-tail", { 0 }, FRAME_LEN(0) + 8 },
	{ "frame-odd", { 0 }, FRAME_LEN(0) + 1 },
	{ "frame-addr-len", { .addr = IPV4, .addr_len = 3 }, 0 },
	{ "frame-addr-short", { .addr = IPV4, .addr_len = 15 }, 0 },
	{ "frame-addr-huge", { .addr = IPV4, .addr_len = -1U }, 0 },
	{ "frame-addr-family", { .addr = { 16 }, .addr_len = 16 }, 0 },
	{ "frame-addr-other", { .addr = IPV6, .addr_len = 28 }, 0 },
	{ "frame-error-len", { .type = 1, .len = 8, .error = 111 }, 0 },
	{ "frame-error-0", { .type = 1 }, 0 },
	{ "frame-error-unknown", { .type = 1, .error = 4000 }, 0 },
	{ "frame-error-again", { .type = 1, .error = 11 }, 0 },
	{ "frame-error-minus", { .type = 1, .error = -111U }, 0 },
	{ "frame-info-good", { .len = 5, .type = 2, .addr = IPV4, .addr_len = 16 }, 0 },
	{ "frame-info-flags", { .type = 2 }, 0 },
	{ "frame-info-local", { .type = 2 }, 0 },
	{ "frame-info-to", { .type = 2 }, 0 },
	{ "frame-info-local-other", { .type = 2 }, 0 },
	{ "frame-info-to-other", { .type = 2 }, 0 },
	{ "frame-info-none", { .type = 2 }, FRAME_LEN(0) },
	{ "frame-info-half", { .type = 2 }, FRAME_LEN(72) },
	{ "frame-info-wrap", { .type = 2, .len = -120U }, FRAME_LEN(80) },
	{ "frame-report-good", { .len = 5, .type = 3, .addr = IPV4, .addr_len = 16 }, 0 },
	{ "frame-report-quiet", { .len = 5, .type = 3, .addr = IPV4, .addr_len = 16 }, 0 },
	{ "frame-report-origin", { .type = 3 }, 0 },
	{ "frame-report-offender", { .type = 3 }, 0 },
	{ "frame-report-offender-other", { .type = 3 }, 0 },
	{ "frame-report-other", { .type = 3, .addr = IPV6, .addr_len = 28 }, 0 },
	{ "frame-report-half", { .type = 3 }, FRAME_LEN(72) },
	{ "frame-prod-far", { 0 }, 1U << 31 },
	{ "frame-prod-back", { 0 }, -8U },
};

/* The info behind the header in some of the frames; in the others it is all zeroes. */
static const struct {
	const char *how;
	struct info info;
} infos[] = {
	{ "frame-info-flags", { .flags = 16 } },
	{ "frame-info-local", { .local = IPV4, .local_len = 15 } },
	{ "frame-info-local-other", { .local = IPV6, .local_len = 28 } },
	{ "frame-info-to", { .to = { 1 }, .to_len = 16 } },
	{ "frame-info-to-other", { .to = IPV6, .to_len = 28 } },
	/* flags is the number of an error, tos its origin, ttl its type. */
	{ "frame-report-good", { .flags = 111, .tos = 2, .ttl = 3 } },
	{ "frame-report-quiet", { .flags = 111, .tos = 2, .ttl = 3 } },
	{ "frame-report-offender", { .flags = 111, .tos = 2, .local = { 1 },
				     .to = { 16 } } },
	{ "frame-report-offender-other", { .flags = 111, .tos = 2, .local = IPV6,
					   .to = { 28 } } },
	{ "frame-report-other", { .flags = 111, .tos = 2, .ttl = 3 } },
};

bool raw_frame(const char *how, struct frame *f, struct info *info, __u32 *prod)
{
	size_t i;

	memset(info, 0, sizeof(*info));
	for (i = 0; i < ARRAY_LEN(infos); i++)
		if (!strcmp(how, infos[i].how))
			*info = infos[i].info;
	for (i = 0; i < ARRAY_LEN(frames); i++) {
		if (strcmp(how, frames[i].how))
			continue;
		*f = frames[i].frame;
		*prod = frames[i].prod ?:
			FRAME_LEN(f->len + frame_info_len(f));
		return true;
	}
	return false;
}

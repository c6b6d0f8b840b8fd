// SPDX-License-Identifier: GPL-2.0
/* Streams of AF_INET and AF_INET6 of the programs of some cgroups are carried by XenSock. */
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/xensock.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define AF_INET		2
#define AF_INET6	10
#define SOCK_STREAM	1
#define SOCK_TYPE_MASK	0xf

#define MAX_DEPTH	16

char LICENSE[] SEC("license") = "GPL";

/* The numbers of the cgroups, as stat(1) shows them. Those below them are meant too. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u64);
	__type(value, __u8);
} xensock_cgroups SEC(".maps");

static int is_chosen(void)
{
	int depth;

	for (depth = 0; depth < MAX_DEPTH; depth++) {
		__u64 cgroup = bpf_get_current_ancestor_cgroup_id(depth);

		if (!cgroup)
			break;
		if (bpf_map_lookup_elem(&xensock_cgroups, &cgroup))
			return 1;
	}
	return 0;
}

SEC("fmod_ret/update_socket_protocol")
int BPF_PROG(to_xensock, int family, int type, int protocol)
{
	if (family != AF_INET && family != AF_INET6)
		return protocol;
	if ((type & SOCK_TYPE_MASK) != SOCK_STREAM)
		return protocol;
	/* Programs in Go listen with the last. */
	if (protocol && protocol != IPPROTO_TCP && protocol != IPPROTO_MPTCP)
		return protocol;
	return is_chosen() ? IPPROTO_XENSOCK : protocol;
}

// SPDX-License-Identifier: GPL-2.0
/* Streams of AF_INET and AF_INET6 of one cgroup's programs are carried by XenSock. */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define AF_INET		2
#define AF_INET6	10
#define SOCK_TYPE_MASK	0xf
#define IPPROTO_XENSOCK	257

char LICENSE[] SEC("license") = "GPL";

SEC("fmod_ret/update_socket_protocol")
int BPF_PROG(to_xensock, int family, int type, int protocol)
{
	if (bpf_get_current_ancestor_cgroup_id(LEVEL) != CGROUP)
		return protocol;
	if (family != AF_INET && family != AF_INET6)
		return protocol;
	if ((type & SOCK_TYPE_MASK) != SOCK_STREAM)
		return protocol;
	if (protocol && protocol != IPPROTO_TCP)
		return protocol;
	return IPPROTO_XENSOCK;
}

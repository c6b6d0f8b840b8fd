// SPDX-License-Identifier: GPL-2.0
/* The queue of errors of sockets that have no packets of their own. */

#include <linux/errqueue.h>
#include <linux/export.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <net/inet_common.h>
#include <net/rust_sock.h>
#include <net/sock.h>

/* Where IPv6, if the kernel has it, finds the interface of an address. */
static int *queued_iif(struct sock_exterr_skb *serr)
{
#if IS_ENABLED(CONFIG_IPV6)
	return &serr->header.h6.iif;
#else
	return &serr->header.h4.iif;
#endif
}

/**
 * sk_queue_network_error - queue an error that the network has of a datagram
 * @sk: the socket that has sent it
 * @ee: the error
 * @offender: who has sent the error, or %NULL
 * @to: where the datagram went; of the family of @offender
 * @data: what came back of the datagram
 * @len: its length
 *
 * Does what ip_icmp_error() and ipv6_icmp_error() do for a message of ICMP, so that
 * ip_recv_error() and ipv6_recv_error() find what they look for: the two headers of such a
 * message, with both addresses, and @data behind them. For any context.
 */
int sk_queue_network_error(struct sock *sk, const struct sock_extended_err *ee,
			   const struct sockaddr *offender, const struct sockaddr *to,
			   const void *data, size_t len)
{
	bool is_ipv6 = to->sa_family == AF_INET6;
	size_t header = is_ipv6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	struct sock_exterr_skb *serr;
	struct sk_buff *skb;
	void *message;
	int err;

	skb = alloc_skb(2 * header + len, GFP_ATOMIC);
	if (!skb)
		return -ENOMEM;
	skb_reset_network_header(skb);
	message = skb_put_zero(skb, 2 * header);
	memset(skb->cb, 0, sizeof(skb->cb));
	serr = SKB_EXT_ERR(skb);
	serr->ee = *ee;
	if (is_ipv6) {
		const struct sockaddr_in6 *from = (const void *)offender;
		const struct sockaddr_in6 *sin6 = (const void *)to;
		struct ipv6hdr *outer = message, *inner = outer + 1;

		skb->protocol = htons(ETH_P_IPV6);
		inner->daddr = sin6->sin6_addr;
		*queued_iif(serr) = sin6->sin6_scope_id;
		if (from) {
			outer->saddr = from->sin6_addr;
			*queued_iif(serr) = from->sin6_scope_id;
		}
		serr->addr_offset = (void *)&inner->daddr - message;
		serr->port = sin6->sin6_port;
	} else {
		const struct sockaddr_in *from = (const void *)offender;
		const struct sockaddr_in *sin = (const void *)to;
		struct iphdr *outer = message, *inner = outer + 1;

		skb->protocol = htons(ETH_P_IP);
		inner->daddr = sin->sin_addr.s_addr;
		if (from)
			outer->saddr = from->sin_addr.s_addr;
		serr->addr_offset = (void *)&inner->daddr - message;
		serr->port = sin->sin_port;
	}
	skb_put_data(skb, data, len);
	__skb_pull(skb, 2 * header);
	skb_reset_transport_header(skb);
	err = sock_queue_err_skb(sk, skb);
	if (err)
		dev_kfree_skb_any(skb);
	return err;
}
EXPORT_SYMBOL_GPL(sk_queue_network_error);

/* Where a datagram went, or who has said something of it, for a socket of another family. */
static int put_queued_addr(const struct sk_buff *skb, void *to, bool is_offender)
{
	struct sock_exterr_skb *serr = SKB_EXT_ERR(skb);
	const unsigned char *headers = skb_network_header(skb);
	struct sockaddr_in6 *sin6 = to;
	struct sockaddr_in *sin = to;

	if (skb->protocol != htons(ETH_P_IPV6)) {
		sin->sin_family = AF_INET;
		if (is_offender) {
			sin->sin_addr.s_addr = ((const struct iphdr *)headers)->saddr;
		} else {
			memcpy(&sin->sin_addr, headers + serr->addr_offset,
			       sizeof(sin->sin_addr));
			sin->sin_port = serr->port;
		}
		return sizeof(*sin);
	}
	sin6->sin6_family = AF_INET6;
	if (is_offender) {
		sin6->sin6_addr = ((const struct ipv6hdr *)headers)->saddr;
	} else {
		memcpy(&sin6->sin6_addr, headers + serr->addr_offset, sizeof(sin6->sin6_addr));
		sin6->sin6_port = serr->port;
	}
	sin6->sin6_scope_id = ipv6_iface_scope_id(&sin6->sin6_addr, *queued_iif(serr));
	return sizeof(*sin6);
}

/**
 * sk_recv_error - receive from the queue of errors
 * @sk: the socket
 * @msg: where the error goes
 * @len: the room for what came back of the datagram
 *
 * As TCP and UDP do if the socket is one of IPv4 or IPv6, and as they would for one of
 * another family.
 */
int sk_recv_error(struct sock *sk, struct msghdr *msg, int len)
{
	struct {
		struct sock_extended_err ee;
		struct sockaddr_in6 offender;
	} said = {};
	size_t said_len = sizeof(said.ee);
	int level = SOL_IP, type = IP_RECVERR;
	struct sk_buff *skb;
	int copied, err;

	if (sk_is_inet(sk))
		return inet_recv_error(sk, msg, len);
	skb = sock_dequeue_err_skb(sk);
	if (!skb)
		return -EAGAIN;
	copied = skb->len;
	if (copied > len) {
		msg->msg_flags |= MSG_TRUNC;
		copied = len;
	}
	err = skb_copy_datagram_msg(skb, 0, msg, copied);
	if (err) {
		kfree_skb(skb);
		return err;
	}
	sock_recv_timestamp(msg, sk, skb);
	said.ee = SKB_EXT_ERR(skb)->ee;
	/* Those of the network have headers, and so a protocol. */
	if (skb->protocol) {
		bool is_ipv6 = skb->protocol == htons(ETH_P_IPV6);

		if (is_ipv6) {
			level = SOL_IPV6;
			type = IPV6_RECVERR;
		}
		said_len += is_ipv6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
		if (msg->msg_name) {
			memset(msg->msg_name, 0, sizeof(struct sockaddr_in6));
			msg->msg_namelen = put_queued_addr(skb, msg->msg_name, false);
		}
		if (said.ee.ee_origin != SO_EE_ORIGIN_LOCAL)
			put_queued_addr(skb, &said.offender, true);
	}
	put_cmsg(msg, level, type, said_len, &said);
	msg->msg_flags |= MSG_ERRQUEUE;
	consume_skb(skb);
	return copied;
}
EXPORT_SYMBOL_GPL(sk_recv_error);

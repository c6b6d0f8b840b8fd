// SPDX-License-Identifier: GPL-2.0
/* The error queue of sockets that have no packets of their own. */

#include <linux/errqueue.h>
#include <linux/export.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <net/inet_common.h>
#include <net/rust_sock.h>
#include <net/sock.h>

/* The field in which the error queue keeps the interface of an address. */
static int *queued_iif(struct sock_exterr_skb *serr)
{
#if IS_ENABLED(CONFIG_IPV6)
	return &serr->header.h6.iif;
#else
	return &serr->header.h4.iif;
#endif
}

/**
 * sk_queue_network_error - queue an error that the network reported for a datagram
 * @sk: the socket that sent the datagram
 * @ee: the error
 * @offender: the sender of the error, or %NULL
 * @to: the destination of the datagram, of the same family as @offender
 * @data: the part of the datagram that came back
 * @len: the length of @data
 *
 * Does for a reported error what ip_icmp_error() and ipv6_icmp_error() do for an ICMP
 * message. The queued packet has what ip_recv_error() and ipv6_recv_error() look for: the
 * two headers of such a message, with both addresses, followed by @data. Any context.
 *
 * Return: 0 or a negative error code.
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

/* Stores the offender or the destination of a queued error, for a socket of a non-IP family. */
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
 * sk_recv_error - receive an error from the error queue
 * @sk: the socket
 * @msg: destination of the error
 * @len: room for the part of the datagram that came back
 *
 * Does what TCP and UDP do for a socket of IPv4 or IPv6, and the equivalent for a socket
 * of another family.
 *
 * Return: the number of bytes of the datagram, or a negative error code.
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
	/* Errors reported by the network have headers, hence a protocol. */
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

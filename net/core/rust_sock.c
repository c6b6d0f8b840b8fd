// SPDX-License-Identifier: GPL-2.0
/*
 * C code that the Rust abstractions of sockets need and that is more than one call. Helpers that
 * wrap a single function are in rust/helpers/net.
 */

#include <linux/cred.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/inetdevice.h>
#include <linux/security.h>
#include <linux/udp.h>
#include <linux/uio.h>
#include <linux/user_namespace.h>
#include <net/addrconf.h>
#include <net/inet_common.h>
#include <net/inet_sock.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/rust_sock.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/transp_v6.h>

/**
 * inet_sock_init - initialise a socket that inet_create() did not make
 * @sk: a socket of AF_INET or AF_INET6, initialised by sock_init_data()
 *
 * Sets what inet_create() and inet6_create() set.
 */
void inet_sock_init(struct sock *sk)
{
	const struct net *net = sock_net(sk);
	struct inet_sock *inet = inet_sk(sk);

	sk->sk_txrehash = READ_ONCE(net->core.sysctl_txrehash);
	inet->pmtudisc = READ_ONCE(net->ipv4.sysctl_ip_no_pmtu_disc) ? IP_PMTUDISC_DONT :
								       IP_PMTUDISC_WANT;
	atomic_set(&inet->inet_id, 0);
	inet->uc_ttl = -1;
	inet->mc_ttl = 1;
	inet_set_bit(MC_LOOP, sk);
	inet_set_bit(MC_ALL, sk);
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		struct ipv6_pinfo *np = (void *)sk + sk->sk_prot->ipv6_pinfo_offset;

		inet->pinet6 = np;
		np->hop_limit = -1;
		np->mcast_hops = IPV6_DEFAULT_MCASTHOPS;
		np->pmtudisc = IPV6_PMTUDISC_WANT;
		inet6_set_bit(MC6_LOOP, sk);
		inet6_set_bit(MC6_ALL, sk);
		sk->sk_ipv6only = READ_ONCE(net->ipv6.sysctl.bindv6only);
	}
#endif
}
EXPORT_SYMBOL_GPL(inet_sock_init);

/**
 * inet_sock_end - end a socket that inet_sock_init() has initialised
 * @sk: the socket, in any state
 *
 * Closes the socket and runs its destructor, which warns about a socket that
 * is not closed.
 */
void inet_sock_end(struct sock *sk)
{
	sock_set_flag(sk, SOCK_DEAD);
	sk->sk_state = TCP_CLOSE;
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6) {
		inet6_sock_destruct(sk);
		return;
	}
#endif
	inet_sock_destruct(sk);
}
EXPORT_SYMBOL_GPL(inet_sock_end);

/**
 * inet_sock_set_names - store the addresses of a socket where the kernel reads them
 * @sk: a socket of AF_INET or AF_INET6
 * @local: the local address; an IPv4 address is mapped
 * @peer: the address of the peer; an IPv4 address is mapped
 *
 * A socket of TCP or UDP has to be locked, and must not have a port. Others are
 * in no hash table, and what reads their names needs no exact ones.
 */
void inet_sock_set_names(struct sock *sk, const struct sockaddr_in6 *local,
			 const struct sockaddr_in6 *peer)
{
	struct inet_sock *inet = inet_sk(sk);

	WRITE_ONCE(inet->inet_num, ntohs(local->sin6_port));
	inet->inet_sport = local->sin6_port;
	inet->inet_dport = peer->sin6_port;
	if (ipv6_addr_v4mapped(&local->sin6_addr))
		inet->inet_saddr = local->sin6_addr.s6_addr32[3];
	if (ipv6_addr_v4mapped(&peer->sin6_addr))
		inet->inet_daddr = peer->sin6_addr.s6_addr32[3];
	inet->inet_rcv_saddr = inet->inet_saddr;
#if IS_ENABLED(CONFIG_IPV6)
	sk->sk_v6_rcv_saddr = local->sin6_addr;
	sk->sk_v6_daddr = peer->sin6_addr;
	if (sk->sk_family == AF_INET6)
		inet6_sk(sk)->saddr = local->sin6_addr;
#endif
}
EXPORT_SYMBOL_GPL(inet_sock_set_names);

/**
 * net_is_local - check if an address belongs to this host
 * @net: the network namespace
 * @addr: the address; an IPv4 address is mapped
 *
 * Return: %true if the address is one of the namespace's own.
 */
bool net_is_local(struct net *net, const struct in6_addr *addr)
{
	bool local = false;

	if (ipv6_addr_v4mapped(addr)) {
		rcu_read_lock();
		local = __ip_dev_find(net, addr->s6_addr32[3], false);
		rcu_read_unlock();
		return local;
	}
#if IS_ENABLED(CONFIG_IPV6)
	if (ipv6_addr_loopback(addr))
		return true;
	if (ipv6_mod_enabled()) {
		struct rt6_info *rt = rt6_lookup(net, addr, NULL, 0, NULL, 0);

		local = rt && rt->rt6i_flags & (RTF_LOCAL | RTF_ANYCAST);
		ip6_rt_put(rt);
		/* An interface with its own routing table, as in a VRF, has the route there. */
		local = local || ipv6_chk_addr(net, addr, NULL, 0);
	}
#endif
	return local;
}
EXPORT_SYMBOL_GPL(net_is_local);

/**
 * sk_inherit - copy the settings of a listening socket to a new connection
 * @newsk: a socket made by sk_alloc() and sock_init_data(), not yet published
 * @sk: the listening socket, locked
 *
 * Copies what sk_clone() and TCP copy, except for filters: these sockets have
 * no packets.
 */
void sk_inherit(struct sock *newsk, const struct sock *sk)
{
	static const enum sock_flags flags[] = {
		SOCK_DBG, SOCK_LOCALROUTE, SOCK_BROADCAST, SOCK_KEEPOPEN,
		SOCK_URGINLINE, SOCK_LINGER, SOCK_RXQ_OVFL, SOCK_WIFI_STATUS,
		SOCK_NOFCS, SOCK_SELECT_ERR_QUEUE, SOCK_RCVMARK, SOCK_RCVPRIORITY,
		SOCK_RCVTSTAMP, SOCK_RCVTSTAMPNS, SOCK_TSTAMP_NEW,
		SOCK_TIMESTAMPING_ANY, SOCK_ZEROCOPY,
	};
	/* Each socket with one of these keeps the timestamps of packets enabled. */
	static const enum sock_flags stamps[] = {
		SOCK_TIMESTAMP, SOCK_TIMESTAMPING_RX_SOFTWARE,
	};
	int i;

	newsk->sk_type = sk->sk_type;
	newsk->sk_userlocks = sk->sk_userlocks & ~SOCK_BINDPORT_LOCK;
	newsk->sk_sndbuf = READ_ONCE(sk->sk_sndbuf);
	newsk->sk_rcvbuf = READ_ONCE(sk->sk_rcvbuf);
	newsk->sk_rcvlowat = READ_ONCE(sk->sk_rcvlowat);
	newsk->sk_rcvtimeo = READ_ONCE(sk->sk_rcvtimeo);
	newsk->sk_sndtimeo = READ_ONCE(sk->sk_sndtimeo);
	newsk->sk_lingertime = READ_ONCE(sk->sk_lingertime);
	newsk->sk_peek_off = READ_ONCE(sk->sk_peek_off);
	newsk->sk_tsflags = READ_ONCE(sk->sk_tsflags);
	newsk->sk_bind_phc = READ_ONCE(sk->sk_bind_phc);
	newsk->sk_reuse = sk->sk_reuse;
	newsk->sk_reuseport = sk->sk_reuseport;
	newsk->sk_no_check_tx = sk->sk_no_check_tx;
	newsk->sk_incoming_cpu = raw_smp_processor_id();
	newsk->sk_mark = READ_ONCE(sk->sk_mark);
	newsk->sk_bound_dev_if = READ_ONCE(sk->sk_bound_dev_if);
	newsk->sk_max_pacing_rate = READ_ONCE(sk->sk_max_pacing_rate);
#ifdef CONFIG_NET_RX_BUSY_POLL
	newsk->sk_ll_usec = READ_ONCE(sk->sk_ll_usec);
	newsk->sk_prefer_busy_poll = READ_ONCE(sk->sk_prefer_busy_poll);
	newsk->sk_busy_poll_budget = READ_ONCE(sk->sk_busy_poll_budget);
#endif
	for (i = 0; i < ARRAY_SIZE(flags); i++)
		sock_valbool_flag(newsk, flags[i], sock_flag(sk, flags[i]));
	for (i = 0; i < ARRAY_SIZE(stamps); i++) {
		if (sock_flag(sk, stamps[i]))
			sock_enable_timestamp(newsk, stamps[i]);
	}
	security_sk_clone(sk, newsk);
}
EXPORT_SYMBOL_GPL(sk_inherit);

/**
 * sk_take_over - copy the settings of a socket to the one that replaces it
 * @newsk: a new socket of any protocol, of the family of @sk. It is locked here, as options may be
 *	   set on it at the same time
 * @sk: the socket that @newsk replaces, locked
 * @keep_route: an interface or a mark of @newsk stays if @sk has none
 *
 * A setting that was never chosen for @sk keeps the default of the protocol of
 * @newsk.
 */
void sk_take_over(struct sock *newsk, const struct sock *sk, bool keep_route)
{
	int sndbuf, rcvbuf, bound_dev_if;
	u32 mark;

	lock_sock_nested(newsk, SINGLE_DEPTH_NESTING);
	sndbuf = newsk->sk_sndbuf;
	rcvbuf = newsk->sk_rcvbuf;
	bound_dev_if = newsk->sk_bound_dev_if;
	mark = newsk->sk_mark;
	sk_inherit(newsk, sk);
	if (keep_route && !newsk->sk_bound_dev_if)
		newsk->sk_bound_dev_if = bound_dev_if;
	if (keep_route && !newsk->sk_mark)
		newsk->sk_mark = mark;
	/* TCP lets nobody ask for this before the socket connects: it counts from there. */
	if (sk_is_tcp(newsk))
		newsk->sk_tsflags &= ~(SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_ID_TCP);
	/* UDP keeps more state for SO_PEEK_OFF than sk_peek_off. */
	if (sk_is_udp(newsk))
		udp_set_peek_off(newsk, newsk->sk_peek_off);
	if (!(sk->sk_userlocks & SOCK_SNDBUF_LOCK))
		newsk->sk_sndbuf = sndbuf;
	if (!(sk->sk_userlocks & SOCK_RCVBUF_LOCK))
		newsk->sk_rcvbuf = rcvbuf;
	newsk->sk_priority = READ_ONCE(sk->sk_priority);
	newsk->sk_incoming_cpu = READ_ONCE(sk->sk_incoming_cpu);
	newsk->sk_uid = READ_ONCE(sk->sk_uid);
	/* shutdown() has an effect even on a socket that was never connected. */
	WRITE_ONCE(newsk->sk_shutdown, READ_ONCE(sk->sk_shutdown));
	if (newsk->sk_max_pacing_rate != ~0UL)
		cmpxchg(&newsk->sk_pacing_status, SK_PACING_NONE, SK_PACING_NEEDED);
	release_sock(newsk);
}
EXPORT_SYMBOL_GPL(sk_take_over);

/**
 * sk_get_inode - get the inode that contains the struct socket of @sk
 * @sk: the socket
 *
 * Return: the inode with a reference, which keeps the wait queue of the socket in memory,
 * or %NULL if @sk is an orphan.
 */
struct inode *sk_get_inode(struct sock *sk)
{
	struct inode *inode = NULL;

	read_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_socket) {
		inode = SOCK_INODE(sk->sk_socket);
		ihold(inode);
	}
	read_unlock_bh(&sk->sk_callback_lock);

	return inode;
}
EXPORT_SYMBOL_GPL(sk_get_inode);

static int tcp_copy_to_iter(read_descriptor_t *desc, struct sk_buff *skb, unsigned int offset,
			    size_t len)
{
	struct iov_iter *to = desc->arg.data;

	len = min(len, iov_iter_count(to));
	if (skb_copy_datagram_iter(skb, offset, to, len))
		return -EFAULT;
	desc->count = iov_iter_count(to);
	return len;
}

/**
 * tcp_recv_locked - receive the available data that fits, without sleeping
 * @sk: a TCP socket whose spinlock is held and that no task owns
 * @to: destination of the data
 *
 * Return: the number of bytes, or -EBUSY if there is an urgent byte, because
 * tcp_read_sock() does not pass urgent bytes.
 */
int tcp_recv_locked(struct sock *sk, struct iov_iter *to)
{
	read_descriptor_t desc = { .arg.data = to, .count = iov_iter_count(to) };

	if (tcp_sk(sk)->urg_data)
		return -EBUSY;
	return tcp_read_sock(sk, &desc, tcp_copy_to_iter);
}
EXPORT_SYMBOL_GPL(tcp_recv_locked);

/**
 * tcp_send_locked - send the data that there is room for, without sleeping
 * @sk: a TCP socket whose spinlock is held and that no task owns
 * @msg: the message
 *
 * Return: the number of bytes, or -EBUSY if the connection is not established
 * or cannot send. The error of the socket is left for other callers.
 */
int tcp_send_locked(struct sock *sk, struct msghdr *msg)
{
	bool use_task_frag = sk->sk_use_task_frag;
	gfp_t allocation = sk->sk_allocation;
	int ret;

	if (!((1 << sk->sk_state) & (TCPF_ESTABLISHED | TCPF_CLOSE_WAIT)) || sk->sk_err ||
	    (sk->sk_shutdown & SEND_SHUTDOWN))
		return -EBUSY;
	/*
	 * An interrupt must not use the fragment of the current task. GFP_NOWAIT leaves the
	 * reserves alone: if memory is short, the data are sent later, by a thread or after the
	 * next ACK.
	 */
	sk->sk_use_task_frag = false;
	sk->sk_allocation = GFP_NOWAIT;
	ret = tcp_sendmsg_locked(sk, msg, iov_iter_count(&msg->msg_iter));
	sk->sk_allocation = allocation;
	sk->sk_use_task_frag = use_task_frag;
	return ret;
}
EXPORT_SYMBOL_GPL(tcp_send_locked);

/**
 * tcp_raise_window_limit - raise the limit of a connection's receive window
 * @sk: a TCP socket
 * @most: the highest limit in bytes
 *
 * The limit is not raised above what the receive buffer has room for. A socket without a limit gets
 * none. Any context. The caller need not hold the lock of the socket: TCP may set the limit at the
 * same time, and either value will do.
 */
void tcp_raise_window_limit(struct sock *sk, u32 most)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 room = min_t(u32, tcp_full_space(sk), most);
	u32 limit = READ_ONCE(tp->window_clamp);

	if (limit && limit < room)
		WRITE_ONCE(tp->window_clamp, room);
}
EXPORT_SYMBOL_GPL(tcp_raise_window_limit);

/**
 * tcp_fix_rcvbuf - have TCP keep to the size of a receive buffer, or choose it again
 * @sk: a TCP socket whose lock is held
 * @fixed: true to keep to the present size
 *
 * When more arrives than fits, TCP enlarges a buffer that is not fixed, as long as all of TCP has
 * enough memory. A socket that has not connected is left alone: TCP would choose the scale of its
 * window for the present size.
 *
 * Return: true if the buffer is now fixed, or not, as wanted.
 */
bool tcp_fix_rcvbuf(struct sock *sk, bool fixed)
{
	if (!fixed)
		sk->sk_userlocks &= ~SOCK_RCVBUF_LOCK;
	else if (sk->sk_state != TCP_CLOSE)
		sk->sk_userlocks |= SOCK_RCVBUF_LOCK;
	return fixed == !!(sk->sk_userlocks & SOCK_RCVBUF_LOCK);
}
EXPORT_SYMBOL_GPL(tcp_fix_rcvbuf);

/**
 * sock_getsockopt_kernel - getsockopt(2) with a value in kernel memory
 * @sock: the socket
 * @level: the level of the option
 * @optname: the option
 * @optval: destination of the value
 * @optlen: the size of @optval; set to the length of the value
 *
 * do_sock_getsockopt() takes kernel memory only for families that have been
 * converted to getsockopt_iter(), and the internet families have not been.
 *
 * Return: 0 or a negative error code.
 */
int sock_getsockopt_kernel(struct socket *sock, int level, int optname, void *optval,
			   int *optlen)
{
	sockptr_t val = KERNEL_SOCKPTR(optval), len = KERNEL_SOCKPTR(optlen);
	struct sock *sk = sock->sk;
	int err;

	err = security_socket_getsockopt(sock, level, optname);
	if (err)
		return err;
	if (level == SOL_SOCKET)
		return sk_getsockopt(sk, level, optname, val, len);
	if (level == SOL_TCP && sk_is_tcp(sk))
		return do_tcp_getsockopt(sk, level, optname, val, len);
	if (level == SOL_IP)
		return do_ip_getsockopt(sk, level, optname, val, len);
	if (IS_ENABLED(CONFIG_IPV6) && level == SOL_IPV6 && sk->sk_family == AF_INET6)
		return do_ipv6_getsockopt(sk, level, optname, val, len);
	return sk->sk_family == AF_INET6 ? -ENOPROTOOPT : -EOPNOTSUPP;
}
EXPORT_SYMBOL_GPL(sock_getsockopt_kernel);

/**
 * prepare_user_cred - make the credentials of an unprivileged user
 * @user: user ID, and group ID, in the initial user namespace
 * @may_bind: the credentials get CAP_NET_BIND_SERVICE as their only capability
 *
 * Return: the credentials, or %NULL if memory is short.
 */
struct cred *prepare_user_cred(u32 user, bool may_bind)
{
	struct cred *cred = prepare_kernel_cred(&init_task);

	if (!cred)
		return NULL;
	cred->uid = make_kuid(&init_user_ns, user);
	cred->euid = cred->uid;
	cred->suid = cred->uid;
	cred->fsuid = cred->uid;
	cred->gid = make_kgid(&init_user_ns, user);
	cred->egid = cred->gid;
	cred->sgid = cred->gid;
	cred->fsgid = cred->gid;
	cap_clear(cred->cap_inheritable);
	cap_clear(cred->cap_permitted);
	cap_clear(cred->cap_effective);
	cap_clear(cred->cap_bset);
	cap_clear(cred->cap_ambient);
	if (may_bind) {
		cap_raise(cred->cap_permitted, CAP_NET_BIND_SERVICE);
		cap_raise(cred->cap_effective, CAP_NET_BIND_SERVICE);
	}
	return cred;
}
EXPORT_SYMBOL_GPL(prepare_user_cred);

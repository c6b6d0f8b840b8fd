// SPDX-License-Identifier: GPL-2.0

#include <asm/ioctls.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/security.h>
#include <linux/sockios.h>
#include <net/inet_common.h>
#include <net/inet_connection_sock.h>
#include <net/net_namespace.h>
#include <net/busy_poll.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <net/udp.h>

#ifdef CONFIG_RUST_SOCKET_ABSTRACTIONS

__rust_helper struct net *rust_helper_get_net(struct net *net)
{
	return get_net(net);
}

__rust_helper struct net *rust_helper_maybe_get_net(struct net *net)
{
	return maybe_get_net(net);
}

__rust_helper void rust_helper_put_net(struct net *net)
{
	put_net(net);
}

__rust_helper struct mem_cgroup *rust_helper_sock_enter_memcg(const struct sock *sk)
{
	return set_active_memcg(mem_cgroup_from_sk(sk));
}

__rust_helper void rust_helper_sock_leave_memcg(struct mem_cgroup *old)
{
	set_active_memcg(old);
}

__rust_helper void rust_helper_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

__rust_helper void rust_helper_sock_put(struct sock *sk)
{
	sock_put(sk);
}

__rust_helper struct net *rust_helper_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}

__rust_helper void rust_helper_lock_sock(struct sock *sk)
{
	lock_sock(sk);
}

__rust_helper bool rust_helper_sock_flag(const struct sock *sk, enum sock_flags flag)
{
	return sock_flag(sk, flag);
}

__rust_helper void rust_helper_sk_set_zerocopy(struct sock *sk, bool on)
{
	sock_valbool_flag(sk, SOCK_ZEROCOPY, on);
}

__rust_helper u32 rust_helper_sk_userlocks(const struct sock *sk)
{
	return sk->sk_userlocks;
}

__rust_helper void rust_helper_sk_set_reuseport(struct sock *sk, bool on)
{
	sk->sk_reuseport = on;
}

/* Returns true if a task sleeps in a call on the socket, or polls it. */
__rust_helper bool rust_helper_sk_has_sleeper(struct sock *sk)
{
	guard(rcu)();

	return skwq_has_sleeper(rcu_dereference(sk->sk_wq));
}

/* Returns true if a program wants the arrival time of data. */
__rust_helper bool rust_helper_sk_wants_timestamp(const struct sock *sk)
{
	return sock_flag(sk, SOCK_RCVTSTAMP) ||
	       READ_ONCE(sk->sk_tsflags) & SOF_TIMESTAMPING_SOFTWARE;
}

__rust_helper s64 rust_helper_ktime_get_real_ns(void)
{
	return ktime_get_real_ns();
}

/* Puts the arrival time into @msg, in the form that the program asked for. */
__rust_helper void rust_helper_sk_put_timestamp(struct msghdr *msg, struct sock *sk, s64 ns)
{
	struct scm_timestamping_internal tss = { .ts[0] = ns_to_ktime(ns) };

	tcp_recv_timestamp(msg, sk, &tss);
}

/* Stores the time when a datagram arrived for SIOCGSTAMP, as sock_recv_cmsgs() does. */
__rust_helper void rust_helper_sk_store_timestamp(struct sock *sk, s64 ns)
{
	if (sock_flag(sk, SOCK_TIMESTAMP))
		sock_write_timestamp(sk, ns_to_ktime(ns));
	else if (sock_read_timestamp(sk) == SK_DEFAULT_STAMP)
		sock_write_timestamp(sk, 0);
}

/* Does what SO_TXREHASH does, which is limited to TCP. */
__rust_helper void rust_helper_sk_set_txrehash(struct sock *sk, int val)
{
	u8 rehash = val;

	if (rehash == SOCK_TXREHASH_DEFAULT)
		rehash = READ_ONCE(sock_net(sk)->core.sysctl_txrehash);
	/* Pairs with READ_ONCE() in sk_getsockopt(). */
	WRITE_ONCE(sk->sk_txrehash, rehash);
}

__rust_helper void rust_helper_sk_incoming_cpu_update(struct sock *sk)
{
	sk_incoming_cpu_update(sk);
}

__rust_helper u64 rust_helper_sock_i_ino(const struct sock *sk)
{
	return sock_i_ino(sk);
}

__rust_helper kuid_t rust_helper_sk_uid(const struct sock *sk)
{
	return sk_uid(sk);
}

__rust_helper void rust_helper_sock_orphan(struct sock *sk)
{
	sock_orphan(sk);
}

__rust_helper void rust_helper_sock_graft(struct sock *sk, struct socket *parent)
{
	sock_graft(sk, parent);
}

__rust_helper int rust_helper_sock_rcvlowat(const struct sock *sk, int waitall, int len)
{
	return sock_rcvlowat(sk, waitall, len);
}

__rust_helper long rust_helper_sock_rcvtimeo(const struct sock *sk, bool noblock)
{
	return sock_rcvtimeo(sk, noblock);
}

__rust_helper long rust_helper_sock_sndtimeo(const struct sock *sk, bool noblock)
{
	return sock_sndtimeo(sk, noblock);
}

__rust_helper int rust_helper_sock_intr_errno(long timeo)
{
	return sock_intr_errno(timeo);
}

__rust_helper void rust_helper_sk_wake_async(const struct sock *sk, int how, int band)
{
	sk_wake_async(sk, how, band);
}

/* Returns true if the socket is bound to an interface or has a mark. */
__rust_helper bool rust_helper_sk_has_route(const struct sock *sk)
{
	return READ_ONCE(sk->sk_bound_dev_if) || READ_ONCE(sk->sk_mark);
}

/* Requests a SIGIO at the next sk_write_space(). */
__rust_helper void rust_helper_sk_want_space(struct sock *sk)
{
	struct socket_wq *wq;

	rcu_read_lock();
	wq = rcu_dereference(sk->sk_wq);
	if (wq) {
		set_bit(SOCKWQ_ASYNC_NOSPACE, &wq->flags);
		/* Pairs with the barrier in the waker. The caller looks for room after this. */
		smp_mb__after_atomic();
	}
	rcu_read_unlock();
}

__rust_helper void rust_helper_sock_prot_inuse_add(const struct net *net,
						   const struct proto *prot, int val)
{
	sock_prot_inuse_add(net, prot, val);
}

__rust_helper struct socket *rust_helper_SOCKET_I(struct inode *inode)
{
	return SOCKET_I(inode);
}

__rust_helper void rust_helper_sk_callback_read_lock_bh(struct sock *sk)
{
	read_lock_bh(&sk->sk_callback_lock);
}

__rust_helper void rust_helper_sk_callback_read_unlock_bh(struct sock *sk)
{
	read_unlock_bh(&sk->sk_callback_lock);
}

__rust_helper void rust_helper_sk_callback_write_lock_bh(struct sock *sk)
{
	write_lock_bh(&sk->sk_callback_lock);
}

__rust_helper void rust_helper_sk_callback_write_unlock_bh(struct sock *sk)
{
	write_unlock_bh(&sk->sk_callback_lock);
}

__rust_helper bool rust_helper_sk_stream_memory_free(const struct sock *sk)
{
	return sk_stream_memory_free(sk);
}

/* Returns true if there are bytes to read, or an urgent byte. */
__rust_helper bool rust_helper_tcp_has_input(const struct sock *sk)
{
	return !skb_queue_empty_lockless(&sk->sk_receive_queue) ||
	       READ_ONCE(tcp_sk(sk)->urg_data);
}

__rust_helper __poll_t rust_helper_inet_csk_listen_poll(const struct sock *sk)
{
	return inet_csk_listen_poll(sk);
}

/* Adds a connection to the accept queue length of a listening socket, or removes one. */
__rust_helper void rust_helper_inet_csk_count_waiting(struct sock *sk, bool more)
{
	spinlock_t *lock = &inet_csk(sk)->icsk_accept_queue.rskq_lock;

	spin_lock_bh(lock);
	if (more)
		sk_acceptq_added(sk);
	else
		sk_acceptq_removed(sk);
	spin_unlock_bh(lock);
}

/*
 * Returns what sk_user_data points to if its only flag is SK_USER_DATA_NOCOPY, else NULL: BPF has
 * flags of its own. The caller holds sk_callback_lock.
 */
__rust_helper void *rust_helper_sk_user_data_nocopy_locked(const struct sock *sk)
{
	uintptr_t data = (uintptr_t)sk->sk_user_data;

	if ((data & ~SK_USER_DATA_PTRMASK) != SK_USER_DATA_NOCOPY)
		return NULL;
	return __locked_read_sk_user_data_with_flags(sk, SK_USER_DATA_NOCOPY);
}

__rust_helper void rust_helper_sk_assign_user_data_nocopy(struct sock *sk, void *data)
{
	__rcu_assign_sk_user_data_with_flags(sk, data, data ? SK_USER_DATA_NOCOPY : 0);
}

__rust_helper int rust_helper_cond_resched(void)
{
	return cond_resched();
}

__rust_helper bool rust_helper_sk_can_busy_loop(const struct sock *sk)
{
	return sk_can_busy_loop(sk);
}

__rust_helper unsigned long rust_helper_busy_loop_current_time(void)
{
	return busy_loop_current_time();
}

__rust_helper bool rust_helper_sk_busy_loop_timeout(struct sock *sk, unsigned long start_time)
{
	return sk_busy_loop_timeout(sk, start_time);
}

static_assert(TCP_URG_VALID == 0x0100);

/*
 * Returns false if the urgent pointer of a connection and its state are still *@seq and *@data.
 * Otherwise reads both, and the sequence number of the next byte to receive into *@next.
 */
__rust_helper bool rust_helper_tcp_urgent_change(struct sock *sk, u32 *seq, u16 *data, u32 *next)
{
	const struct tcp_sock *tp = tcp_sk(sk);

	if (READ_ONCE(tp->urg_seq) == *seq && READ_ONCE(tp->urg_data) == *data)
		return false;
	lock_sock(sk);
	*seq = tp->urg_seq;
	*data = tp->urg_data;
	/* A receipt of the last bytes also passes the peer's FIN, which is no byte. */
	*next = tp->copied_seq -
		(sock_flag(sk, SOCK_DONE) && tp->copied_seq == tp->rcv_nxt);
	release_sock(sk);
	return true;
}

/*
 * Returns true if @sk is a TCP socket that listens or has listened. TCP may still use a former
 * listener as one for an RCU grace period: it copies the socket, and notifies it without its lock.
 */
__rust_helper bool rust_helper_tcp_has_listened(const struct sock *sk)
{
	/* inet_hash() sets the flag after this state, and before anything can find the socket. */
	return sk_is_tcp(sk) && (inet_sk_state_load(sk) == TCP_LISTEN ||
				 sock_flag(sk, SOCK_RCU_FREE));
}

/*
 * Returns true if @sk is a TCP socket that has never listened and whose lock no task owns. The
 * holder of the spinlock then holds the socket.
 */
__rust_helper bool rust_helper_tcp_is_unowned(struct sock *sk)
{
	return sk_is_tcp(sk) && !rust_helper_tcp_has_listened(sk) &&
	       !sock_owned_by_user_nocheck(sk);
}

__rust_helper bool rust_helper_tcp_trylock_bh(struct sock *sk)
{
	spin_lock_bh(&sk->sk_lock.slock);
	if (rust_helper_tcp_is_unowned(sk))
		return true;
	spin_unlock_bh(&sk->sk_lock.slock);
	return false;
}

__rust_helper void rust_helper_tcp_unlock_bh(struct sock *sk)
{
	spin_unlock_bh(&sk->sk_lock.slock);
}

/*
 * Does what sk_send_sigurg() does, for callers that do not keep @sk from being closed: file and
 * socket are freed after an RCU grace period.
 */
__rust_helper void rust_helper_sk_send_sigurg(struct sock *sk)
{
	struct file *file = NULL;
	struct socket *sock;

	rcu_read_lock();
	sock = READ_ONCE(sk->sk_socket);
	if (sock)
		file = get_file_active(&sock->file);
	rcu_read_unlock();
	if (!file)
		return;
	if (send_sigurg(file))
		sk_wake_async(sk, SOCK_WAKE_URG, POLL_PRI);
	fput(file);
}

/*
 * Makes the notification for @size bytes sent with MSG_ZEROCOPY, which says that they were copied.
 * rust_helper_sk_zerocopy_end() completes it. Returns NULL if there is no room.
 *
 * TCP holds the lock of the socket until it knows if anything was sent. Here other calls may begin
 * and end in between. So the number of the call is given back, and taken anew in the end.
 */
__rust_helper struct ubuf_info *rust_helper_sk_zerocopy_begin(struct sock *sk, size_t size)
{
	struct ubuf_info *uarg;

	lock_sock(sk);
	uarg = msg_zerocopy_realloc(sk, size, NULL, false);
	if (uarg) {
		uarg_to_msgzc(uarg)->zerocopy = 0;
		atomic_dec(&sk->sk_zckey);
	}
	release_sock(sk);
	return uarg;
}

__rust_helper void rust_helper_sk_zerocopy_end(struct sock *sk, struct ubuf_info *uarg,
					       bool was_sent)
{
	/* Under the lock, so that notifications are queued in the order of their numbers. */
	lock_sock(sk);
	if (was_sent)
		uarg_to_msgzc(uarg)->id = (u32)atomic_inc_return(&sk->sk_zckey) - 1;
	else
		uarg_to_msgzc(uarg)->len = 0;
	net_zcopy_put(uarg);
	release_sock(sk);
}

__rust_helper bool rust_helper_sk_has_queued_error(const struct sock *sk)
{
	return !skb_queue_empty_lockless(&sk->sk_error_queue);
}

__rust_helper void rust_helper_sk_purge_errors(struct sock *sk)
{
	skb_queue_purge(&sk->sk_error_queue);
}

__rust_helper int rust_helper_sk_rmem_alloc_get(const struct sock *sk)
{
	return sk_rmem_alloc_get(sk);
}

/* Returns the limit of a connection's receive window, or 0 if there is none. */
__rust_helper u32 rust_helper_tcp_window_limit(const struct sock *sk)
{
	return READ_ONCE(tcp_sk(sk)->window_clamp);
}

__rust_helper long rust_helper_tcp_mem_pressure(void)
{
	return READ_ONCE(sysctl_tcp_mem[1]);
}

__rust_helper int rust_helper_tcp_max_orphans(void)
{
	return READ_ONCE(sysctl_tcp_max_orphans);
}

__rust_helper long rust_helper_udp_mem_pressure(void)
{
	return READ_ONCE(sysctl_udp_mem[1]);
}

__rust_helper int rust_helper_sk_wmem_alloc_get(const struct sock *sk)
{
	return sk_wmem_alloc_get(sk);
}

/* Returns the value of SIOCOUTQ for a connection. */
__rust_helper size_t rust_helper_sk_unacked(struct sock *sk)
{
	int unacked;

	if (tcp_ioctl(sk, SIOCOUTQ, &unacked))
		return 0;
	return max(unacked, 0);
}

#endif /* CONFIG_RUST_SOCKET_ABSTRACTIONS */

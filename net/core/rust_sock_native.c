// SPDX-License-Identifier: GPL-2.0
/*
 * A native socket of TCP or UDP, and a socket that stands in for it. The file that a program holds
 * is the file of the stand-in, even after a fallback: the program then uses the native socket
 * through that file.
 */

#include <linux/export.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/security.h>
#include <linux/sock_diag.h>
#include <linux/wait.h>
#include <net/rust_sock.h>
#include <net/sock.h>

/**
 * sock_stand_in - make a new socket look like a native one
 * @sock: the new socket, which a program is going to use
 * @native: a new socket of TCP or UDP, which stays behind @sock
 *
 * Return: 0, or the error of a security module.
 */
int sock_stand_in(struct socket *sock, struct socket *native)
{
	struct sock *sk = sock->sk;

	/* Copies what BPF programs of the control group have set. */
	lock_sock(native->sk);
	sk_take_over(sk, native->sk, false);
	release_sock(native->sk);
	/* BPF programs know the native socket by its cookie, and so does the program. */
	atomic64_set(&sk->sk_cookie, sock_gen_cookie(native->sk));
	/* BPF programs of the control group are told of the native socket only. */
	sk->sk_kern_sock = true;
	return security_socket_post_create(sock, sk->sk_family, sock->type,
					   native->sk->sk_protocol, 0);
}
EXPORT_SYMBOL_GPL(sock_stand_in);

/**
 * sock_fall_back - make a program use the native socket behind its own
 * @sock: the socket that the program has
 * @native: the native socket behind it, still unused
 *
 * From now on the file of @sock refers to @native, as with SMC.
 *
 * Return: %true if a task waits on @sock, even if only for a signal.
 */
bool sock_fall_back(struct socket *sock, struct socket *native)
{
	struct sock *sk = native->sk;
	struct file *file = sock->file;
	bool is_async;

	if (!file)
		return false;

	/* Tools find the file by the inode of @sock, so @native takes its number. */
	write_lock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(sk->sk_ino, SOCK_INODE(sock)->i_ino);
	write_unlock_bh(&sk->sk_callback_lock);
	native->file = file;

	/* Excludes a sock_fasync() that changes the list of @sock. */
	lock_sock(sock->sk);
	is_async = sock->wq.fasync_list;
	native->wq.fasync_list = sock->wq.fasync_list;
	sock->wq.fasync_list = NULL;
	/*
	 * A sock_fasync() that reads the new value changes the list of @native. Pairs with the
	 * address dependency of the readers of private_data.
	 */
	smp_store_release(&file->private_data, native);
	release_sock(sock->sk);
	if (is_async) {
		lock_sock(sk);
		sock_set_flag(sk, SOCK_FASYNC);
		release_sock(sk);
	}

	/* Pairs with the barrier of poll_wait(): a waiter that is not seen here sees the change. */
	smp_mb();
	/* The barrier is the smp_mb() above. */
	return waitqueue_active(&sock->wq.wait);
}
EXPORT_SYMBOL_GPL(sock_fall_back);

static int forward_wake(struct wait_queue_entry *entry, unsigned int mode, int flags, void *key)
{
	struct wait_queue_head *head = entry->private;
	unsigned long irq_flags;

	/* The lock of the native wait queue is held. The locks are always taken in this order. */
	spin_lock_irqsave_nested(&head->lock, irq_flags, SINGLE_DEPTH_NESTING);
	/* sock_def_wakeup() wakes all waiters, and has no key. The other callbacks wake one. */
	if (key)
		__wake_up_locked_key(head, mode, key);
	else
		__wake_up_locked(head, mode, 0);
	spin_unlock_irqrestore(&head->lock, irq_flags);
	return 0;
}

/**
 * sock_forward_wakes - forward wakeups from one socket to the waiters of another
 * @native: the socket whose events are forwarded
 * @sock: the socket whose waiters are woken
 * @entry: all zeroes at the first call; stays in the wait queue of @native until sock_forward_end()
 *
 * Several tasks may call this at the same time. For each of them the wakeups are forwarded when it
 * returns.
 */
void sock_forward_wakes(struct socket *native, struct socket *sock,
			struct wait_queue_entry *entry)
{
	struct wait_queue_head *head = &native->wq.wait;
	unsigned long irq_flags;

	spin_lock_irqsave(&head->lock, irq_flags);
	if (!entry->func) {
		init_waitqueue_func_entry(entry, forward_wake);
		entry->private = &sock->wq.wait;
		__add_wait_queue(head, entry);
	}
	spin_unlock_irqrestore(&head->lock, irq_flags);
}
EXPORT_SYMBOL_GPL(sock_forward_wakes);

/**
 * sock_forward_end - stop what sock_forward_wakes() began
 * @native: the socket whose events were forwarded
 * @entry: the entry given to sock_forward_wakes()
 */
void sock_forward_end(struct socket *native, struct wait_queue_entry *entry)
{
	remove_wait_queue(&native->wq.wait, entry);
}
EXPORT_SYMBOL_GPL(sock_forward_end);

/**
 * sock_release_native - close the native socket behind another one
 * @native: the native socket
 * @sock: the socket in front of it, or %NULL if no program ever had it
 */
void sock_release_native(struct socket *native, struct socket *sock)
{
	/* Removes the entry of a sock_fasync() that read private_data before the fallback. */
	if (native->file && sock && sock->wq.fasync_list)
		fasync_helper(-1, native->file, 0, &sock->wq.fasync_list);
	/* The file belongs to @sock. */
	native->file = NULL;
	sock_release(native);
}
EXPORT_SYMBOL_GPL(sock_release_native);

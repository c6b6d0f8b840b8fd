// SPDX-License-Identifier: GPL-2.0
/*
 * A socket of TCP or UDP, and another one that stands in for it. The file of a program is that of
 * the other one, even if it has fallen back: the program uses the native socket by it then.
 */

#include <linux/export.h>
#include <linux/fs.h>
#include <linux/net.h>
#include <linux/security.h>
#include <linux/wait.h>
#include <net/rust_sock.h>
#include <net/sock.h>

/**
 * sock_stand_in - make a new socket look like another one
 * @sock: the new socket, which is going to be a program's
 * @native: one of TCP or UDP, new as well, which stays behind it
 *
 * Return: 0, or what security modules say of it.
 */
int sock_stand_in(struct socket *sock, struct socket *native)
{
	struct sock *sk = sock->sk;

	/* What programs of the control group have set. */
	lock_sock(native->sk);
	sk_take_over(sk, native->sk);
	release_sock(native->sk);
	/* They hear of the native one. */
	sk->sk_kern_sock = true;
	return security_socket_post_create(sock, sk->sk_family, sock->type,
					   native->sk->sk_protocol, 0);
}
EXPORT_SYMBOL_GPL(sock_stand_in);

/**
 * sock_fall_back - have a program use the socket behind its own
 * @sock: the socket that the program has
 * @native: that behind it, which nobody has used
 *
 * The program has @native by the file of @sock from then on, as with SMC.
 *
 * Return: whether somebody waits with @sock, be it only for a signal.
 */
bool sock_fall_back(struct socket *sock, struct socket *native)
{
	struct sock *sk = native->sk;
	struct file *file = sock->file;

	if (!file)
		return false;

	/* The file belongs to @sock, so does what tools find it by. */
	write_lock_bh(&sk->sk_callback_lock);
	WRITE_ONCE(sk->sk_ino, SOCK_INODE(sock)->i_ino);
	write_unlock_bh(&sk->sk_callback_lock);
	native->file = file;

	/* Excludes sock_fasync(), unless it has come by the file before. */
	lock_sock(sock->sk);
	/* Pairs with the dependency of whoever reads it. */
	smp_store_release(&file->private_data, native);
	native->wq.fasync_list = sock->wq.fasync_list;
	sock->wq.fasync_list = NULL;
	release_sock(sock->sk);
	if (native->wq.fasync_list) {
		lock_sock(sk);
		sock_set_flag(sk, SOCK_FASYNC);
		release_sock(sk);
	}

	/* Pairs with that of poll_wait(): who is not seen here sees the change. */
	smp_mb();
	/* The barrier is above. */
	return waitqueue_active(&sock->wq.wait);
}
EXPORT_SYMBOL_GPL(sock_fall_back);

static int forward_wake(struct wait_queue_entry *entry, unsigned int mode, int flags, void *key)
{
	struct wait_queue_head *head = entry->private;
	unsigned long irq_flags;

	/* The lock of the native one's is held. Nobody takes them the other way round. */
	spin_lock_irqsave_nested(&head->lock, irq_flags, SINGLE_DEPTH_NESTING);
	__wake_up_locked_key(head, mode, key);
	spin_unlock_irqrestore(&head->lock, irq_flags);
	return 0;
}

/**
 * sock_forward_wakes - wake those who wait with one socket together with those of another
 * @native: the socket whose events count
 * @sock: the other one
 * @entry: stays in the wait queue of @native until sock_forward_end()
 */
void sock_forward_wakes(struct socket *native, struct socket *sock,
			struct wait_queue_entry *entry)
{
	init_waitqueue_func_entry(entry, forward_wake);
	entry->private = &sock->wq.wait;
	add_wait_queue(&native->wq.wait, entry);
}
EXPORT_SYMBOL_GPL(sock_forward_wakes);

/**
 * sock_forward_end - the opposite of sock_forward_wakes()
 * @native: the socket
 * @entry: what was given to sock_forward_wakes()
 */
void sock_forward_end(struct socket *native, struct wait_queue_entry *entry)
{
	remove_wait_queue(&native->wq.wait, entry);
}
EXPORT_SYMBOL_GPL(sock_forward_end);

/**
 * sock_release_native - close the socket behind another one
 * @native: the socket
 * @sock: that which it is behind, or %NULL if no program ever had it
 */
void sock_release_native(struct socket *native, struct socket *sock)
{
	/* Who has come by the file before it was changed. */
	if (native->file && sock && sock->wq.fasync_list)
		fasync_helper(-1, native->file, 0, &sock->wq.fasync_list);
	/* The file is that of the other one. */
	native->file = NULL;
	sock_release(native);
}
EXPORT_SYMBOL_GPL(sock_release_native);

// SPDX-License-Identifier: GPL-2.0
/*
 * Gives the C frontend, drivers/xen/pvcalls-front.c, a caller, since the kernel
 * has none. Its sockets have the family AF_ECONET, which Linux no longer has,
 * so that the test programs can use them (--family pvcalls).
 *
 * The frontend supports socket, connect, bind, listen, accept, poll, sendmsg,
 * recvmsg and release of IPv4 streams. It does not report names: this module
 * stores the address that a socket is bound to.
 */
#include <linux/in.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "pvcalls-front.h"

struct user_sock {
	struct sock sk;
	struct sockaddr_in bound;
};

static struct proto user_proto = {
	.name = "PVCALLS_USER",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct user_sock),
};

static const struct proto_ops user_ops;

/* The frontend makes accepted sockets itself, and they are smaller. */
static struct user_sock *user_sk(struct sock *sk)
{
	return sk->sk_prot == &user_proto ? (struct user_sock *)sk : NULL;
}

static void user_drop(struct socket *sock)
{
	struct sock *sk = sock->sk;

	sock_orphan(sk);
	sock->sk = NULL;
	sock_put(sk);
}

static int user_release(struct socket *sock)
{
	int ret;

	if (!sock->sk)
		return 0;
	/* The frontend waits for everything except room in the commands ring. */
	while ((ret = pvcalls_front_release(sock)) == -EAGAIN)
		schedule_timeout_uninterruptible(1);
	user_drop(sock);
	return ret;
}

static int user_bind(struct socket *sock, struct sockaddr_unsized *addr,
		     int len)
{
	struct user_sock *usk = user_sk(sock->sk);
	int ret;

	if (!usk || len < (int)sizeof(usk->bound))
		return -EINVAL;
	ret = pvcalls_front_bind(sock, (struct sockaddr *)addr,
				 sizeof(usk->bound));
	if (!ret)
		memcpy(&usk->bound, addr, sizeof(usk->bound));
	return ret;
}

static int user_connect(struct socket *sock, struct sockaddr_unsized *addr,
			int len, int flags)
{
	if (len < (int)sizeof(struct sockaddr_in))
		return -EINVAL;
	return pvcalls_front_connect(sock, (struct sockaddr *)addr,
				     sizeof(struct sockaddr_in), flags);
}

static int user_accept(struct socket *sock, struct socket *newsock,
		       struct proto_accept_arg *arg)
{
	int ret = pvcalls_front_accept(sock, newsock, arg);
	void *map;

	/* The frontend allocates the new sock and initialises nothing in it. */
	if (newsock->sk) {
		map = newsock->sk->sk_send_head;
		sock_init_data(newsock, newsock->sk);
		newsock->sk->sk_send_head = map;
		newsock->state = SS_CONNECTED;
	}
	return ret;
}

static int user_getname(struct socket *sock, struct sockaddr *addr, int peer)
{
	struct user_sock *usk = user_sk(sock->sk);

	if (peer || !usk)
		return -EOPNOTSUPP;
	memcpy(addr, &usk->bound, sizeof(usk->bound));
	return sizeof(usk->bound);
}

/* The frontend looks for room a number of times and then gives up. */
static int user_sendmsg(struct socket *sock, struct msghdr *msg, size_t len)
{
	int ret;

	for (;;) {
		ret = pvcalls_front_sendmsg(sock, msg, len);
		if (ret || !len || msg->msg_flags & MSG_DONTWAIT)
			return ret;
		if (signal_pending(current))
			return -EINTR;
		schedule_timeout_interruptible(1);
	}
}

static const struct proto_ops user_ops = {
	.family = PF_ECONET,
	.owner = THIS_MODULE,
	.release = user_release,
	.bind = user_bind,
	.connect = user_connect,
	.socketpair = sock_no_socketpair,
	.accept = user_accept,
	.getname = user_getname,
	.poll = pvcalls_front_poll,
	.ioctl = sock_no_ioctl,
	.listen = pvcalls_front_listen,
	.shutdown = sock_no_shutdown,
	.sendmsg = user_sendmsg,
	.recvmsg = pvcalls_front_recvmsg,
	.mmap = sock_no_mmap,
};

static int user_create(struct net *net, struct socket *sock, int protocol,
		       int kern)
{
	struct sock *sk;
	int ret;

	if (!net_eq(net, &init_net))
		return -EAFNOSUPPORT;
	if (sock->type != SOCK_STREAM)
		return -ESOCKTNOSUPPORT;
	if (protocol)
		return -EPROTONOSUPPORT;
	sk = sk_alloc(net, PF_ECONET, GFP_KERNEL, &user_proto, kern);
	if (!sk)
		return -ENOMEM;
	sock->ops = &user_ops;
	sock_init_data(sock, sk);
	user_sk(sk)->bound.sin_family = AF_INET;
	ret = pvcalls_front_socket(sock);
	if (ret)
		user_drop(sock);
	return ret;
}

static const struct net_proto_family user_family = {
	.family = PF_ECONET,
	.create = user_create,
	.owner = THIS_MODULE,
};

static int __init pvcalls_user_init(void)
{
	int ret = proto_register(&user_proto, 0);

	if (ret)
		return ret;
	ret = sock_register(&user_family);
	if (ret)
		proto_unregister(&user_proto);
	return ret;
}

static void __exit pvcalls_user_exit(void)
{
	sock_unregister(PF_ECONET);
	proto_unregister(&user_proto);
}

module_init(pvcalls_user_init);
module_exit(pvcalls_user_exit);
MODULE_DESCRIPTION("Sockets of the pvcalls frontend, for tests");
MODULE_LICENSE("GPL");

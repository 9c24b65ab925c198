/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"

/* CTA_FILTER's flag for "compare the tuple's source address"; in the kernel's private header. */
#define FILTER_IP_SRC (1U << 0)

#define DELETION_MAX 512 /* a message that deletes one connection */

struct Conntrack {
        struct mnl_socket *socket;
        uint32_t portid;
        uint32_t sequence;
};

typedef struct Collection {
        Conntrack *conntrack;
        Buf deletions; /* messages, ready to be sent */
        size_t n;
        int error;
} Collection;

int conntrack_open(Conntrack **ret)
{
        _cleanup_(conntrack_freep) Conntrack *c = calloc(1, sizeof(*c));
        int one = 1;

        if (!c)
                return -ENOMEM;
        c->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (!c->socket || mnl_socket_bind(c->socket, 0, MNL_SOCKET_AUTOPID) < 0)
                return -errno;
        if (mnl_socket_setsockopt(c->socket, NETLINK_CAP_ACK, &one, sizeof(one)) < 0)
                return -errno;
        c->portid = mnl_socket_get_portid(c->socket);
        *ret = TAKE_PTR(c);
        return 0;
}

Conntrack *conntrack_free(Conntrack *c)
{
        if (!c)
                return NULL;
        if (c->socket)
                mnl_socket_close(c->socket);
        free(c);
        return NULL;
}

static struct nlmsghdr *message(Conntrack *c, void *buffer, uint16_t type, uint16_t flags,
                                uint8_t family)
{
        struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);
        struct nfgenmsg *g = mnl_nlmsg_put_extra_header(h, sizeof(*g));

        h->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
        h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
        h->nlmsg_seq = ++c->sequence;
        g->nfgen_family = family;
        g->version = NFNETLINK_V0;
        return h;
}

/* Asks for the connections whose first packet came from `address`. */
static int ask(Conntrack *c, uint8_t family, const uint8_t *address)
{
        char buffer[512];
        struct nlmsghdr *h =
                message(c, buffer, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family == 4 ? AF_INET : AF_INET6);
        struct nlattr *tuple = mnl_attr_nest_start(h, CTA_TUPLE_ORIG);
        struct nlattr *ip = mnl_attr_nest_start(h, CTA_TUPLE_IP);
        struct nlattr *filter;

        if (family == 4)
                mnl_attr_put(h, CTA_IP_V4_SRC, 4, address);
        else
                mnl_attr_put(h, CTA_IP_V6_SRC, 16, address);
        mnl_attr_nest_end(h, ip);
        mnl_attr_nest_end(h, tuple);
        filter = mnl_attr_nest_start(h, CTA_FILTER);
        mnl_attr_put_u32(h, CTA_FILTER_ORIG_FLAGS, FILTER_IP_SRC);
        mnl_attr_put_u32(h, CTA_FILTER_REPLY_FLAGS, 0);
        mnl_attr_nest_end(h, filter);
        return mnl_socket_sendto(c->socket, h, h->nlmsg_len) < 0 ? -errno : 0;
}

/* Copies what names a connection. The id keeps a new connection of the same addresses and ports
 * alive. */
static int copy_name(const struct nlattr *a, void *userdata)
{
        struct nlmsghdr *h = userdata;
        uint16_t type = mnl_attr_get_type(a);

        if (type != CTA_TUPLE_ORIG && type != CTA_ID && type != CTA_ZONE)
                return MNL_CB_OK;
        if (!mnl_attr_put_check(h, DELETION_MAX, a->nla_type, mnl_attr_get_payload_len(a),
                                mnl_attr_get_payload(a)))
                return MNL_CB_ERROR;
        return MNL_CB_OK;
}

static int collect(const struct nlmsghdr *found, void *userdata)
{
        Collection *all = userdata;
        const struct nfgenmsg *g = mnl_nlmsg_get_payload(found);
        char buffer[DELETION_MAX];
        struct nlmsghdr *h;

        if (all->n >= CONNTRACK_FORGET_MAX) {
                all->error = -EAGAIN;
                return MNL_CB_OK;
        }
        h = message(all->conntrack, buffer, IPCTNL_MSG_CT_DELETE, 0, g->nfgen_family);
        if (mnl_attr_parse(found, sizeof(*g), copy_name, h) < 0 ||
            buf_append(&all->deletions, BYTES(h, h->nlmsg_len)) < 0)
                all->error = -ENOMEM;
        else
                all->n++;
        return MNL_CB_OK;
}

/* Reads a dump to its end. Each read makes the kernel walk on, so there is nothing to wait for. */
static int read_dump(Conntrack *c, uint32_t sequence, Collection *all)
{
        char data[32768];

        for (;;) {
                ssize_t len = mnl_socket_recvfrom(c->socket, data, sizeof(data));
                int r;

                if (len < 0 && errno == EINTR)
                        continue;
                if (len < 0)
                        return errno == EAGAIN ? -EPROTO : -errno;
                r = mnl_cb_run(data, (size_t)len, sequence, c->portid, collect, all);
                if (r < 0)
                        return -errno;
                if (r == MNL_CB_STOP)
                        return 0;
        }
}

static void drain(Conntrack *c)
{
        char rest[1024];

        while (recv(mnl_socket_get_fd(c->socket), rest, sizeof(rest), 0) >= 0 || errno == EINTR)
                ;
}

/* Several messages a datagram. A connection that has ended by itself meanwhile answers ENOENT:
 * nobody asked for answers, they are dropped. */
static int send_deletions(Conntrack *c, Buf *deletions)
{
        int r = 0;

        while (r == 0 && buf_len(deletions) > 0) {
                Bytes all = buf_view(deletions);
                size_t len = 0;

                do
                        len += ((const struct nlmsghdr *)(all.data + len))->nlmsg_len;
                while (len < all.len && len < 32768);
                if (mnl_socket_sendto(c->socket, all.data, len) < 0)
                        r = -errno;
                buf_consume(deletions, len);
                drain(c);
        }
        return r;
}

int conntrack_forget(Conntrack *c, uint8_t family, const uint8_t *address, size_t *ret_deleted)
{
        Collection all = { c, BUF_INIT((size_t)CONNTRACK_FORGET_MAX * DELETION_MAX), 0, 0 };
        int r;

        drain(c);
        r = ask(c, family, address);
        if (r == 0)
                r = read_dump(c, c->sequence, &all);
        if (r == 0)
                r = send_deletions(c, &all.deletions);
        if (r == 0)
                r = all.error;
        buf_done(&all.deletions);
        if (r == 0)
                *ret_deleted = all.n;
        return r;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/conntrack.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* CTA_FILTER's flag for "compare the tuple's source address"; in the kernel's private header. */
#define FILTER_IP_SRC (1U << 0)

#define DELETION_MAX 512 /* a message that deletes one connection */

#define ATTRIBUTES_MAX 8 /* of those that are looked at, in each nest */

struct Conntrack {
        struct mnl_socket *socket;
        uint32_t portid;
        uint32_t sequence;
};

/* What is looked for, and what was found of it. */
typedef struct Search {
        Conntrack *conntrack;
        uint8_t family;
        const ConntrackPeer *keep;
        size_t n_keep;
        const struct ifaddrs *own;
        ConntrackFound found;
        int error;
} Search;

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

static int pick(const struct nlattr *a, void *userdata)
{
        const struct nlattr **by_type = userdata;
        uint16_t type = mnl_attr_get_type(a);

        if (type < ATTRIBUTES_MAX)
                by_type[type] = a;
        return MNL_CB_OK;
}

typedef struct Destination {
        const uint8_t *address;
        uint8_t protocol;
        uint16_t port; /* 0 where the protocol has none */
} Destination;

/* Where the first packet went. False: the kernel says less than it should. */
static bool read_destination(const struct nlmsghdr *found, uint8_t family, Destination *ret)
{
        const struct nlattr *all[ATTRIBUTES_MAX] = { NULL }, *tuple[ATTRIBUTES_MAX] = { NULL },
                            *ip[ATTRIBUTES_MAX] = { NULL }, *proto[ATTRIBUTES_MAX] = { NULL };
        const struct nlattr *address;

        mnl_attr_parse(found, sizeof(struct nfgenmsg), pick, all);
        if (!all[CTA_TUPLE_ORIG])
                return false;
        mnl_attr_parse_nested(all[CTA_TUPLE_ORIG], pick, tuple);
        if (!tuple[CTA_TUPLE_IP] || !tuple[CTA_TUPLE_PROTO])
                return false;
        mnl_attr_parse_nested(tuple[CTA_TUPLE_IP], pick, ip);
        mnl_attr_parse_nested(tuple[CTA_TUPLE_PROTO], pick, proto);
        address = ip[family == 4 ? CTA_IP_V4_DST : CTA_IP_V6_DST];
        if (!address || mnl_attr_get_payload_len(address) != (family == 4 ? 4 : 16) ||
            !proto[CTA_PROTO_NUM])
                return false;
        ret->address = mnl_attr_get_payload(address);
        ret->protocol = mnl_attr_get_u8(proto[CTA_PROTO_NUM]);
        ret->port =
                proto[CTA_PROTO_DST_PORT] ? ntohs(mnl_attr_get_u16(proto[CTA_PROTO_DST_PORT])) : 0;
        return true;
}

static bool same_prefix(const uint8_t *a, const uint8_t *b, unsigned bits)
{
        uint8_t rest = (uint8_t)(0xff00U >> bits % 8);

        return memcmp(a, b, bits / 8) == 0 &&
               (rest == 0 || ((a[bits / 8] ^ b[bits / 8]) & rest) == 0);
}

static bool is_kept(const Search *s, const Destination *d)
{
        for (size_t i = 0; i < s->n_keep; i++) {
                const ConntrackPeer *p = &s->keep[i];

                if (p->protocol == d->protocol && p->port_first <= d->port &&
                    d->port <= p->port_last && same_prefix(p->address, d->address, p->prefix))
                        return true;
        }
        return false;
}

static bool is_own(const Search *s, const Destination *d)
{
        for (const struct ifaddrs *i = s->own; i; i = i->ifa_next) {
                const void *own;

                if (!i->ifa_addr || i->ifa_addr->sa_family != (s->family == 4 ? AF_INET : AF_INET6))
                        continue;
                own = s->family == 4
                              ? (const void *)&((const struct sockaddr_in *)i->ifa_addr)->sin_addr
                              : &((const struct sockaddr_in6 *)i->ifa_addr)->sin6_addr;
                if (memcmp(own, d->address, s->family == 4 ? 4 : 16) == 0)
                        return true;
        }
        return false;
}

static int collect(const struct nlmsghdr *found, void *userdata)
{
        Search *s = userdata;
        const struct nfgenmsg *g = mnl_nlmsg_get_payload(found);
        char buffer[DELETION_MAX];
        Destination d;
        struct nlmsghdr *h;

        if (read_destination(found, s->family, &d) && (is_kept(s, &d) || is_own(s, &d)))
                return MNL_CB_OK;
        if (s->found.n >= CONNTRACK_FOUND_MAX) {
                s->found.more = true;
                return MNL_CB_OK;
        }
        h = message(s->conntrack, buffer, IPCTNL_MSG_CT_DELETE, 0, g->nfgen_family);
        if (mnl_attr_parse(found, sizeof(*g), copy_name, h) < 0 ||
            buf_append(&s->found.deletions, BYTES(h, h->nlmsg_len)) < 0)
                s->error = -ENOMEM;
        else
                s->found.n++;
        return MNL_CB_OK;
}

/* Reads a dump to its end. Each read makes the kernel walk on, so there is nothing to wait for. */
static int read_dump(Conntrack *c, uint32_t sequence, Search *s)
{
        char data[32768];

        for (;;) {
                ssize_t len = mnl_socket_recvfrom(c->socket, data, sizeof(data));
                int r;

                if (len < 0 && errno == EINTR)
                        continue;
                if (len < 0)
                        return errno == EAGAIN ? -EPROTO : -errno;
                r = mnl_cb_run(data, (size_t)len, sequence, c->portid, collect, s);
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

void conntrack_found_done(ConntrackFound *f)
{
        buf_done(&f->deletions);
}

int conntrack_find(Conntrack *c, uint8_t family, const uint8_t *address, const ConntrackPeer *keep,
                   size_t n_keep, ConntrackFound *ret)
{
        Search s = { .conntrack = c, .family = family, .keep = keep, .n_keep = n_keep };
        struct ifaddrs *own;
        int r;

        if (getifaddrs(&own) < 0)
                return -errno;
        s.own = own;
        s.found.deletions = BUF_INIT((size_t)CONNTRACK_FOUND_MAX * DELETION_MAX);
        drain(c);
        r = ask(c, family, address);
        if (r == 0)
                r = read_dump(c, c->sequence, &s);
        if (r == 0)
                r = s.error;
        freeifaddrs(own);
        if (r < 0)
                conntrack_found_done(&s.found);
        else
                *ret = s.found;
        return r;
}

/* Several messages a datagram. A connection that has ended by itself meanwhile answers ENOENT:
 * nobody asked for answers, they are dropped. */
int conntrack_delete(Conntrack *c, ConntrackFound *f)
{
        int r = 0;

        while (r == 0 && buf_len(&f->deletions) > 0) {
                Bytes all = buf_view(&f->deletions);
                size_t len = 0;

                do
                        len += ((const struct nlmsghdr *)(all.data + len))->nlmsg_len;
                while (len < all.len && len < 32768);
                if (mnl_socket_sendto(c->socket, all.data, len) < 0)
                        r = -errno;
                buf_consume(&f->deletions, len);
                drain(c);
        }
        return r;
}

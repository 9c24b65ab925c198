/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/neighbours.h"

#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"

/* Marks our entries in the kernel. The values above RTPROT_STATIC mean nothing to it, and this one
 * to no routing daemon that is known. */
#define PROTOCOL     83
#define MESSAGE_MAX  256
#define DELETIONS    ((size_t)1 << 20)
#define RETRY        (10 * USEC_PER_SEC)
#define LINK_MSG_MAX 32768

struct Neighbours {
        struct mnl_socket *requests, *links;
        LoopSource *link_changed, *retry;
        Neighbour *entries;
        size_t n;
        uint32_t sequence;
        bool refused; /* and that was logged */
};

static int open_socket(struct mnl_socket **ret, unsigned groups)
{
        *ret = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (!*ret || mnl_socket_bind(*ret, groups, MNL_SOCKET_AUTOPID) < 0)
                return -errno;
        return 0;
}

static size_t address_len(uint8_t family)
{
        return family == 4 ? 4 : 16;
}

/* By what names an entry in the kernel. */
static int compare(const void *a, const void *b)
{
        const Neighbour *x = a, *y = b;

        if (x->index != y->index)
                return x->index < y->index ? -1 : 1;
        if (x->family != y->family)
                return x->family < y->family ? -1 : 1;
        return memcmp(x->addr, y->addr, sizeof(x->addr));
}

static struct nlmsghdr *message(Neighbours *t, void *buffer, uint16_t type, int flags,
                                const struct ndmsg *body)
{
        struct nlmsghdr *h = mnl_nlmsg_put_header(buffer);

        h->nlmsg_type = type;
        h->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
        h->nlmsg_seq = ++t->sequence;
        memcpy(mnl_nlmsg_put_extra_header(h, sizeof(*body)), body, sizeof(*body));
        return h;
}

/* The kernel answers before sending returns: there is nothing to wait for. */
static int answered(Neighbours *t, uint32_t sequence, mnl_cb_t handler, void *userdata)
{
        char data[LINK_MSG_MAX];

        for (;;) {
                ssize_t len = mnl_socket_recvfrom(t->requests, data, sizeof(data));
                int r;

                if (len < 0 && errno == EINTR)
                        continue;
                if (len < 0)
                        return errno == EAGAIN ? -EPROTO : -errno;
                r = mnl_cb_run(data, (size_t)len, sequence, mnl_socket_get_portid(t->requests),
                               handler, userdata);
                if (r < 0)
                        return -errno;
                if (r == MNL_CB_STOP)
                        return 0;
        }
}

static int ask(Neighbours *t, const struct nlmsghdr *h, mnl_cb_t handler, void *userdata)
{
        char rest[1024];

        /* What an earlier question left behind. */
        while (recv(mnl_socket_get_fd(t->requests), rest, sizeof(rest), 0) >= 0 || errno == EINTR)
                ;
        if (mnl_socket_sendto(t->requests, h, h->nlmsg_len) < 0)
                return -errno;
        return answered(t, h->nlmsg_seq, handler, userdata);
}

static int enter(Neighbours *t, const Neighbour *e)
{
        const struct ndmsg body = {
                .ndm_family = e->family == 4 ? AF_INET : AF_INET6,
                .ndm_ifindex = e->index,
                .ndm_state = NUD_PERMANENT,
        };
        char buffer[MESSAGE_MAX];
        struct nlmsghdr *h =
                message(t, buffer, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE | NLM_F_ACK, &body);

        mnl_attr_put(h, NDA_DST, address_len(e->family), e->addr);
        mnl_attr_put(h, NDA_LLADDR, sizeof(e->hardware), e->hardware);
        mnl_attr_put_u8(h, NDA_PROTOCOL, PROTOCOL);
        return ask(t, h, NULL, NULL);
}

/* One entry of the kernel's table: what of it concerns us. */
typedef struct Found {
        uint8_t protocol;
        struct nlattr *destination, *hardware;
} Found;

static int attribute(const struct nlattr *a, void *userdata)
{
        Found *f = userdata;

        switch (mnl_attr_get_type(a)) {
        case NDA_PROTOCOL:
                if (mnl_attr_validate(a, MNL_TYPE_U8) == 0)
                        f->protocol = mnl_attr_get_u8(a);
                break;
        case NDA_DST:
                f->destination = (struct nlattr *)a;
                break;
        case NDA_LLADDR:
                f->hardware = (struct nlattr *)a;
                break;
        }
        return MNL_CB_OK;
}

typedef struct Sweep {
        Neighbours *table;
        Buf deletions; /* messages, ready to be sent */
        int error;
} Sweep;

static void remember_deletion(Sweep *s, const struct ndmsg *found, const struct nlattr *destination)
{
        const struct ndmsg body = { .ndm_family = found->ndm_family,
                                    .ndm_ifindex = found->ndm_ifindex };
        char buffer[MESSAGE_MAX];
        struct nlmsghdr *h = message(s->table, buffer, RTM_DELNEIGH, NLM_F_ACK, &body);

        mnl_attr_put(h, NDA_DST, mnl_attr_get_payload_len(destination),
                     mnl_attr_get_payload(destination));
        if (buf_append(&s->deletions, BYTES(h, h->nlmsg_len)) < 0)
                s->error = -ENOBUFS;
}

static int sweep(const struct nlmsghdr *h, void *userdata)
{
        Sweep *s = userdata;
        const struct ndmsg *body = mnl_nlmsg_get_payload(h);
        Found f = { 0 };
        Neighbour key = { .index = body->ndm_ifindex }, *e;
        size_t len;

        if (mnl_attr_parse(h, sizeof(*body), attribute, &f) < 0 || f.protocol != PROTOCOL ||
            !f.destination)
                return MNL_CB_OK;
        key.family = body->ndm_family == AF_INET ? 4 : 6;
        len = address_len(key.family);
        if (mnl_attr_get_payload_len(f.destination) != len)
                return MNL_CB_OK;
        memcpy(key.addr, mnl_attr_get_payload(f.destination), len);
        e = bsearch(&key, s->table->entries, s->table->n, sizeof(key), compare);
        if (!e)
                remember_deletion(s, body, f.destination);
        else
                e->present = body->ndm_state & NUD_PERMANENT && f.hardware &&
                             mnl_attr_get_payload_len(f.hardware) == 6 &&
                             memcmp(mnl_attr_get_payload(f.hardware), e->hardware, 6) == 0;
        return MNL_CB_OK;
}

/* Sees which entries are there, and removes ours that are not wanted any more. */
static int compare_with_kernel(Neighbours *t)
{
        Sweep s = { t, BUF_INIT(DELETIONS), 0 };
        const struct ndmsg body = { .ndm_family = AF_UNSPEC };
        char buffer[MESSAGE_MAX];
        int r = ask(t, message(t, buffer, RTM_GETNEIGH, NLM_F_DUMP, &body), sweep, &s);

        while (r == 0 && buf_len(&s.deletions) > 0) {
                const struct nlmsghdr *h = (const void *)buf_view(&s.deletions).data;

                r = ask(t, h, NULL, NULL);
                if (r == -ENOENT || r == -ENODEV) /* gone with its interface */
                        r = 0;
                buf_consume(&s.deletions, h->nlmsg_len);
        }
        buf_done(&s.deletions);
        return r < 0 ? r : s.error;
}

static unsigned index_of(const struct if_nameindex *all, const char *name)
{
        for (; all->if_name; all++)
                if (streq(all->if_name, name))
                        return all->if_index;
        return 0;
}

/* All at once: if_nametoindex() opens a socket each time. */
static int find_interfaces(Neighbours *t)
{
        struct if_nameindex *all = if_nameindex();

        if (!all)
                return -errno;
        for (size_t i = 0; i < t->n; i++) {
                t->entries[i].index = (int)index_of(all, t->entries[i].interface);
                t->entries[i].present = false;
        }
        if_freenameindex(all);
        if (t->n > 0)
                qsort(t->entries, t->n, sizeof(*t->entries), compare);
        return 0;
}

static int enter_missing(Neighbours *t)
{
        int error = 0;

        for (size_t i = 0; i < t->n; i++) {
                const Neighbour *e = &t->entries[i];
                int r = e->index == 0 || e->present ? 0 : enter(t, e);

                if (r < 0 && r != -ENODEV) /* gone: it comes again with a message of its own */
                        error = r;
        }
        return error;
}

static void synchronize(Neighbours *t)
{
        int error = find_interfaces(t);

        if (error == 0) {
                int r = compare_with_kernel(t), more = enter_missing(t);

                error = more < 0 ? more : r;
        }
        loop_timer_disarm(t->retry);
        if (error < 0 && !t->refused)
                log_warning_errno(error, "Cannot enter the hardware addresses of all devices in "
                                         "the neighbour table; trying again");
        t->refused = error < 0;
        if (error < 0 && loop_timer_arm_relative(t->retry, RETRY) < 0)
                log_warning("Cannot arm a timer, ignoring");
}

void neighbours_set(Neighbours *t, Neighbour *wanted, size_t n)
{
        free(t->entries);
        t->entries = wanted;
        t->n = n;
        synchronize(t);
}

static int on_retry(void *userdata)
{
        synchronize(userdata);
        return 0;
}

/* An interface that goes down takes its entries along. */
static int on_link(int fd, unsigned events, void *userdata)
{
        char data[LINK_MSG_MAX];
        ssize_t n;

        (void)events;
        /* What happened does not matter, nor that some of it was lost (ENOBUFS). */
        while ((n = recv(fd, data, sizeof(data), 0)) > 0 ||
               (n < 0 && (errno == EINTR || errno == ENOBUFS)))
                ;
        if (n < 0 && errno != EAGAIN)
                return log_error_errno(-errno, "Cannot hear of network interfaces");
        synchronize(userdata);
        return 0;
}

int neighbours_new(Loop *loop, Neighbours **ret)
{
        _cleanup_(neighbours_freep) Neighbours *t = calloc(1, sizeof(*t));
        int r;

        if (!t)
                return -ENOMEM;
        r = open_socket(&t->requests, 0);
        if (r == 0)
                r = open_socket(&t->links, RTMGRP_LINK);
        if (r == 0)
                r = loop_add_io(loop, &t->link_changed, mnl_socket_get_fd(t->links), LOOP_READ,
                                LOOP_FATAL, on_link, t);
        if (r == 0)
                r = loop_add_timer(loop, &t->retry, LOOP_FATAL, on_retry, t);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

Neighbours *neighbours_free(Neighbours *t)
{
        if (!t)
                return NULL;
        loop_source_free(t->link_changed);
        loop_source_free(t->retry);
        if (t->requests)
                mnl_socket_close(t->requests);
        if (t->links)
                mnl_socket_close(t->links);
        free(t->entries);
        free(t);
        return NULL;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <stdio.h> /* libnftnl's headers need FILE */

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/batch.h>
#include <libnftnl/common.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>

#include "platform/nft-internal.h"

/* A batch is one datagram. 1,000 devices with 10 allowances are about 2 MiB. */
#define BATCH_MAX ((size_t)256 << 20)

int nft_open(const char *table, Nft **ret)
{
        _cleanup_(nft_freep) Nft *n = calloc(1, sizeof(*n));
        int one = 1;

        if (!n || !(n->table = strdup(table)))
                return -ENOMEM;
        n->socket = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (!n->socket || mnl_socket_bind(n->socket, 0, MNL_SOCKET_AUTOPID) < 0)
                return -errno;
        /* Errors come without a copy of the message that caused them. */
        if (mnl_socket_setsockopt(n->socket, NETLINK_CAP_ACK, &one, sizeof(one)) < 0)
                return -errno;
        n->portid = mnl_socket_get_portid(n->socket);
        *ret = TAKE_PTR(n);
        return 0;
}

Nft *nft_free(Nft *n)
{
        if (!n)
                return NULL;
        if (n->socket)
                mnl_socket_close(n->socket);
        free(n->table);
        free(n);
        return NULL;
}

void nft_batch_cancel(NftBatch *b, int error)
{
        if (b && b->error == 0)
                b->error = error;
}

struct nlmsghdr *nft_message_begin(NftBatch *b, uint16_t type, uint16_t flags)
{
        if (nft_batch_failed(b))
                return NULL;
        return nftnl_nlmsg_build_hdr((char *)b->scratch, type, NFPROTO_INET, flags,
                                     ++b->nft->sequence);
}

static bool name_culprit(NftBatch *b, const char *kind, const char *name)
{
        if (b->n_culprits == b->cap_culprits) {
                size_t cap = MAX(2 * b->cap_culprits, (size_t)64);
                void *p = reallocarray(b->culprits, cap, sizeof(*b->culprits));

                if (!p)
                        return false;
                b->culprits = p;
                b->cap_culprits = cap;
        }
        snprintf(b->culprits[b->n_culprits++], NFT_CULPRIT_MAX, "%s %s", kind, name);
        return true;
}

static int append(NftBatch *b, const struct nlmsghdr *h)
{
        size_t at = buf_len(&b->messages);
        int r = buf_append(&b->messages, BYTES(h, NLMSG_ALIGN(h->nlmsg_len)));

        if (r < 0)
                return r;
        b->last = at;
        return 0;
}

void nft_message_end(NftBatch *b, const struct nlmsghdr *h, const char *kind, const char *name)
{
        int r = name_culprit(b, kind, name) ? append(b, h) : -ENOMEM;

        if (r < 0)
                nft_batch_cancel(b, r);
}

NftBatch *nft_batch_new(Nft *n)
{
        _cleanup_(nft_batch_freep) NftBatch *b = calloc(1, sizeof(*b));

        if (!b)
                return NULL;
        b->nft = n;
        b->rule.batch = b;
        b->messages = BUF_INIT(BATCH_MAX);
        b->scratch = calloc(1, NFT_MESSAGE_MAX);
        if (!b->scratch)
                return NULL;
        if (append(b, nftnl_batch_begin((char *)b->scratch, ++n->sequence)) < 0)
                return NULL;
        b->first_sequence = n->sequence + 1;
        return TAKE_PTR(b);
}

NftBatch *nft_batch_free(NftBatch *b)
{
        if (!b)
                return NULL;
        if (b->rule.rule)
                nftnl_rule_free(b->rule.rule);
        buf_done(&b->messages);
        free(b->scratch);
        free(b->culprits);
        free(b);
        return NULL;
}

/* The batch is one datagram: it must fit into the send buffer. */
static int make_room(Nft *n, size_t len)
{
        int fd = mnl_socket_get_fd(n->socket), have = 0, want = (int)len + (1 << 16);
        socklen_t size = sizeof(have);

        if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &have, &size) < 0)
                return -errno;
        if (have < want && setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &want, sizeof(want)) < 0)
                return -errno;
        return 0;
}

static void drain(Nft *n)
{
        char rest[256];

        while (recv(mnl_socket_get_fd(n->socket), rest, sizeof(rest), 0) >= 0 || errno == EINTR)
                ;
}

/* The verdict of one datagram of answers: the first error that one of our messages caused; else
 * `*acked` says whether the acknowledgement was among them. */
static int read_answers(const NftBatch *b, const char *data, int len, uint32_t last_sequence,
                        bool *acked, const char **culprit)
{
        const struct nlmsghdr *h = (const struct nlmsghdr *)data;

        for (; mnl_nlmsg_ok(h, len); h = mnl_nlmsg_next(h, &len)) {
                const struct nlmsgerr *e = mnl_nlmsg_get_payload(h);
                uint32_t i = h->nlmsg_seq - b->first_sequence;

                if (h->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(h) < sizeof(*e))
                        continue;
                if (e->error < 0) {
                        *culprit = i < b->n_culprits ? b->culprits[i] : "batch";
                        return e->error;
                }
                if (h->nlmsg_seq == last_sequence)
                        *acked = true;
        }
        return 0;
}

/* The kernel has queued every answer before sendmsg() returns. */
static int receive_verdict(NftBatch *b, uint32_t last_sequence, const char **culprit)
{
        char data[16384];
        bool acked = false;

        for (;;) {
                ssize_t len = recv(mnl_socket_get_fd(b->nft->socket), data, sizeof(data), 0);
                int r;

                if (len < 0 && errno == EINTR)
                        continue;
                if (len < 0 && errno == EAGAIN)
                        return acked ? 0 : -EPROTO;
                if (len < 0)
                        return -errno; /* ENOBUFS: more errors than fit */
                r = read_answers(b, data, (int)len, last_sequence, &acked, culprit);
                if (r < 0) {
                        drain(b->nft);
                        return r;
                }
        }
}

static int commit(NftBatch *b, const char **culprit)
{
        uint32_t last_sequence;
        struct nlmsghdr *last;
        Bytes all;
        int r;

        if (b->n_culprits == 0)
                return 0;
        last = (struct nlmsghdr *)(b->messages.data + b->messages.start + b->last);
        last->nlmsg_flags |= NLM_F_ACK;
        last_sequence = last->nlmsg_seq;
        r = append(b, nftnl_batch_end((char *)b->scratch, ++b->nft->sequence));
        if (r < 0)
                return r;
        all = buf_view(&b->messages);
        r = make_room(b->nft, all.len);
        if (r < 0)
                return r;
        drain(b->nft);
        if (mnl_socket_sendto(b->nft->socket, all.data, all.len) < 0)
                return -errno;
        return receive_verdict(b, last_sequence, culprit);
}

int nft_batch_commit(NftBatch *b, char ret_culprit[static NFT_CULPRIT_MAX])
{
        const char *culprit = "batch";
        int r;

        if (nft_batch_failed(b))
                r = b ? b->error : -ENOMEM;
        else
                r = commit(b, &culprit);
        if (r < 0)
                snprintf(ret_culprit, NFT_CULPRIT_MAX, "%s", culprit);
        nft_batch_cancel(b, -ESTALE);
        return r;
}

int nft_request(Nft *n, struct nlmsghdr *h, mnl_cb_t parse, void *userdata)
{
        char data[16384];
        ssize_t len;

        drain(n);
        if (mnl_socket_sendto(n->socket, h, h->nlmsg_len) < 0)
                return -errno;
        do
                len = recv(mnl_socket_get_fd(n->socket), data, sizeof(data), 0);
        while (len < 0 && errno == EINTR);
        if (len < 0)
                return errno == EAGAIN ? -EPROTO : -errno;
        if (mnl_cb_run(data, (size_t)len, h->nlmsg_seq, n->portid, parse, userdata) < 0)
                return -errno;
        return 0;
}

static int find_generation(const struct nlattr *a, void *userdata)
{
        uint32_t *generation = userdata;

        if (mnl_attr_get_type(a) == NFTA_GEN_ID && mnl_attr_validate(a, MNL_TYPE_U32) == 0)
                *generation = ntohl(mnl_attr_get_u32(a));
        return MNL_CB_OK;
}

static int parse_generation(const struct nlmsghdr *h, void *userdata)
{
        return mnl_attr_parse(h, sizeof(struct nfgenmsg), find_generation, userdata);
}

int nft_read_generation(Nft *n, uint32_t *ret)
{
        char buffer[256];
        struct nlmsghdr *h =
                nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETGEN, AF_UNSPEC, 0, ++n->sequence);
        uint32_t generation = 0; /* the kernel never uses it */
        int r = nft_request(n, h, parse_generation, &generation);

        if (r == 0 && generation == 0)
                r = -EPROTO;
        if (r == 0)
                *ret = generation;
        return r;
}

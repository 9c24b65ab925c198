/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the files of platform/nft share. */

#include <stdio.h> /* libnftnl's headers need FILE */

#include <libmnl/libmnl.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>

#include "base/buf.h"
#include "platform/nft.h"

struct Nft {
        struct mnl_socket *socket;
        uint32_t portid;
        uint32_t sequence;
        char *table;
};

struct NftRule {
        NftBatch *batch;
        struct nftnl_rule *rule; /* NULL between rules and in a failed batch */
        char chain[NFT_CULPRIT_MAX];
        uint8_t family; /* guards that stand already: 4 or 6 */
        uint8_t protocol;
        bool ether;
};

struct NftBatch {
        Nft *nft;
        Buf messages;
        uint8_t *scratch; /* one message being built */
        size_t last;      /* where the last message begins */
        uint32_t first_sequence;
        char (*culprits)[NFT_CULPRIT_MAX]; /* one for each message */
        size_t n_culprits, cap_culprits;
        uint32_t sets; /* ids given */
        int error;     /* sticky */
        NftRule rule;
};

/* A message of libnftnl may overrun 64 KiB by one element. */
#define NFT_MESSAGE_MAX (UINT16_MAX + 8192)

static inline bool nft_batch_failed(const NftBatch *b)
{
        return !b || b->error < 0;
}
/* Begins a message in the scratch area; NULL when the batch has failed. nft_message_end() appends
 * it to the batch under a name for error messages. */
struct nlmsghdr *nft_message_begin(NftBatch *b, uint16_t type, uint16_t flags);
void nft_message_end(NftBatch *b, const struct nlmsghdr *h, const char *kind, const char *name);

/* Sends one request and gives its single answer to `parse`. */
int nft_request(Nft *n, struct nlmsghdr *h, mnl_cb_t parse, void *userdata);

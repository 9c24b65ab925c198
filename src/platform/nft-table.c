/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Tables, chains and named counters. */
#include <stdio.h> /* libnftnl's headers need FILE */

#include <errno.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/object.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "platform/nft-internal.h"

static void table_message(NftBatch *b, uint16_t type, uint16_t flags)
{
        struct nlmsghdr *h = nft_message_begin(b, type, flags);
        struct nftnl_table *t;

        if (!h)
                return;
        t = nftnl_table_alloc();
        if (!t || nftnl_table_set_str(t, NFTNL_TABLE_NAME, b->nft->table) < 0) {
                nft_batch_cancel(b, -ENOMEM);
        } else {
                if (type == NFT_MSG_NEWTABLE)
                        nftnl_table_set_u32(t, NFTNL_TABLE_FLAGS, 0);
                nftnl_table_nlmsg_build_payload(h, t);
                nft_message_end(b, h, "table", b->nft->table);
        }
        if (t)
                nftnl_table_free(t);
}

void nft_add_table(NftBatch *b)
{
        table_message(b, NFT_MSG_NEWTABLE, NLM_F_CREATE);
}

void nft_delete_table(NftBatch *b)
{
        table_message(b, NFT_MSG_DELTABLE, 0);
}

static bool set_hook(struct nftnl_chain *c, NftHook hook, int priority)
{
        static const struct {
                const char *type;
                uint32_t number;
        } hooks[] = {
                [NFT_HOOK_PREROUTING] = { "filter", NF_INET_PRE_ROUTING },
                [NFT_HOOK_INPUT] = { "filter", NF_INET_LOCAL_IN },
                [NFT_HOOK_FORWARD] = { "filter", NF_INET_FORWARD },
                [NFT_HOOK_POSTROUTING_NAT] = { "nat", NF_INET_POST_ROUTING },
        };

        nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, hooks[hook].number);
        nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, priority);
        nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, NF_ACCEPT);
        return nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, hooks[hook].type) == 0;
}

static void chain_message(NftBatch *b, const char *name, const NftHook *hook, int priority)
{
        struct nlmsghdr *h = nft_message_begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
        struct nftnl_chain *c;

        if (!h)
                return;
        c = nftnl_chain_alloc();
        if (!c || nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, b->nft->table) < 0 ||
            nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, name) < 0 ||
            (hook && !set_hook(c, *hook, priority))) {
                nft_batch_cancel(b, -ENOMEM);
        } else {
                nftnl_chain_nlmsg_build_payload(h, c);
                nft_message_end(b, h, "chain", name);
        }
        if (c)
                nftnl_chain_free(c);
}

void nft_add_base_chain(NftBatch *b, const char *name, NftHook hook, int priority)
{
        chain_message(b, name, &hook, priority);
}

void nft_add_chain(NftBatch *b, const char *name)
{
        chain_message(b, name, NULL, 0);
}

static struct nftnl_obj *counter_new(const char *table, const char *name)
{
        struct nftnl_obj *o = nftnl_obj_alloc();

        if (!o)
                return NULL;
        nftnl_obj_set_str(o, NFTNL_OBJ_TABLE, table);
        nftnl_obj_set_str(o, NFTNL_OBJ_NAME, name);
        if (!nftnl_obj_get_str(o, NFTNL_OBJ_TABLE) || !nftnl_obj_get_str(o, NFTNL_OBJ_NAME)) {
                nftnl_obj_free(o);
                return NULL;
        }
        nftnl_obj_set_u32(o, NFTNL_OBJ_TYPE, NFT_OBJECT_COUNTER);
        return o;
}

void nft_add_counter(NftBatch *b, const char *name)
{
        struct nlmsghdr *h = nft_message_begin(b, NFT_MSG_NEWOBJ, NLM_F_CREATE);
        struct nftnl_obj *o;

        if (!h)
                return;
        o = counter_new(b->nft->table, name);
        if (!o) {
                nft_batch_cancel(b, -ENOMEM);
                return;
        }
        /* Without numbers the kernel misses the data attribute. */
        nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_PKTS, 0);
        nftnl_obj_set_u64(o, NFTNL_OBJ_CTR_BYTES, 0);
        nftnl_obj_nlmsg_build_payload(h, o);
        nftnl_obj_free(o);
        nft_message_end(b, h, "counter", name);
}

static int parse_counter(const struct nlmsghdr *h, void *userdata)
{
        NftCount *count = userdata;
        struct nftnl_obj *o = nftnl_obj_alloc();
        int r;

        if (!o)
                return MNL_CB_ERROR;
        r = nftnl_obj_nlmsg_parse(h, o);
        if (r == 0) {
                count->packets = nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_PKTS);
                count->bytes = nftnl_obj_get_u64(o, NFTNL_OBJ_CTR_BYTES);
        }
        nftnl_obj_free(o);
        return r < 0 ? MNL_CB_ERROR : MNL_CB_OK;
}

int nft_read_counter(Nft *n, const char *name, NftCount *ret)
{
        char buffer[1024];
        struct nlmsghdr *h =
                nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETOBJ, NFPROTO_INET, 0, ++n->sequence);
        struct nftnl_obj *o = counter_new(n->table, name);
        NftCount count = { 0 };
        int r;

        if (!o)
                return -ENOMEM;
        nftnl_obj_nlmsg_build_payload(h, o);
        nftnl_obj_free(o);
        r = nft_request(n, h, parse_counter, &count);
        if (r < 0)
                return r;
        *ret = count;
        return 0;
}

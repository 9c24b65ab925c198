/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Rules: matches and statements as expressions of the kernel's virtual machine, spelled as nft
 * spells them, so that `nft list` shows what was meant. */
#include <stdio.h> /* libnftnl's headers need FILE */

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_tuple_common.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <string.h>

#include "platform/nft-internal.h"

typedef enum Source {
        FROM_META,
        FROM_PAYLOAD,
        FROM_CT_ORIGINAL,
} Source;

typedef struct FieldSpec {
        Source source;
        uint32_t key; /* of meta and ct; the header of payload */
        uint32_t offset;
        uint32_t len;
        uint8_t family; /* guards */
        uint8_t protocol;
        bool ether;
} FieldSpec;

#define LINK      NFT_PAYLOAD_LL_HEADER
#define NETWORK   NFT_PAYLOAD_NETWORK_HEADER
#define TRANSPORT NFT_PAYLOAD_TRANSPORT_HEADER

static const FieldSpec fields[_NFT_FIELD_MAX] = {
        [NFT_FIELD_IIFNAME] = { FROM_META, NFT_META_IIFNAME, 0, NFT_INTERFACE_MAX },
        [NFT_FIELD_OIFNAME] = { FROM_META, NFT_META_OIFNAME, 0, NFT_INTERFACE_MAX },
        [NFT_FIELD_ETHER_SADDR] = { FROM_PAYLOAD, LINK, 6, 6, .ether = true },
        [NFT_FIELD_IP_SADDR] = { FROM_PAYLOAD, NETWORK, 12, 4, .family = 4 },
        [NFT_FIELD_IP_DADDR] = { FROM_PAYLOAD, NETWORK, 16, 4, .family = 4 },
        [NFT_FIELD_IP6_SADDR] = { FROM_PAYLOAD, NETWORK, 8, 16, .family = 6 },
        [NFT_FIELD_IP6_DADDR] = { FROM_PAYLOAD, NETWORK, 24, 16, .family = 6 },
        [NFT_FIELD_L4PROTO] = { FROM_META, NFT_META_L4PROTO, 0, 1 },
        [NFT_FIELD_TH_SPORT] = { FROM_PAYLOAD, TRANSPORT, 0, 2 },
        [NFT_FIELD_TH_DPORT] = { FROM_PAYLOAD, TRANSPORT, 2, 2 },
        [NFT_FIELD_UDP_SPORT] = { FROM_PAYLOAD, TRANSPORT, 0, 2, .protocol = IPPROTO_UDP },
        [NFT_FIELD_UDP_DPORT] = { FROM_PAYLOAD, TRANSPORT, 2, 2, .protocol = IPPROTO_UDP },
        [NFT_FIELD_ICMP_TYPE] = { FROM_PAYLOAD, TRANSPORT, 0, 1, 4, IPPROTO_ICMP },
        [NFT_FIELD_ICMPV6_TYPE] = { FROM_PAYLOAD, TRANSPORT, 0, 1, 6, IPPROTO_ICMPV6 },
        [NFT_FIELD_CT_ORIGINAL_IP_SADDR] = { FROM_CT_ORIGINAL, NFT_CT_SRC_IP, 0, 4 },
        [NFT_FIELD_CT_ORIGINAL_IP6_SADDR] = { FROM_CT_ORIGINAL, NFT_CT_SRC_IP6, 0, 16 },
        [NFT_FIELD_CT_ORIGINAL_IP_DADDR] = { FROM_CT_ORIGINAL, NFT_CT_DST_IP, 0, 4 },
        [NFT_FIELD_CT_ORIGINAL_IP6_DADDR] = { FROM_CT_ORIGINAL, NFT_CT_DST_IP6, 0, 16 },
        [NFT_FIELD_CT_ORIGINAL_PROTOCOL] = { FROM_CT_ORIGINAL, NFT_CT_PROTOCOL, 0, 1 },
        [NFT_FIELD_CT_ORIGINAL_DPORT] = { FROM_CT_ORIGINAL, NFT_CT_PROTO_DST, 0, 2 },
};

NftRule *nft_rule_begin(NftBatch *b, const char *chain)
{
        NftRule *r;

        if (!b)
                return NULL;
        r = &b->rule;
        *r = (NftRule){ .batch = b };
        snprintf(r->chain, sizeof(r->chain), "%s", chain);
        if (nft_batch_failed(b))
                return r;
        r->rule = nftnl_rule_alloc();
        if (!r->rule || nftnl_rule_set_str(r->rule, NFTNL_RULE_TABLE, b->nft->table) < 0 ||
            nftnl_rule_set_str(r->rule, NFTNL_RULE_CHAIN, chain) < 0)
                nft_batch_cancel(b, -ENOMEM);
        else
                nftnl_rule_set_u32(r->rule, NFTNL_RULE_FAMILY, NFPROTO_INET);
        return r;
}

void nft_rule_end(NftRule *r)
{
        struct nlmsghdr *h;

        if (!r)
                return;
        h = nft_message_begin(r->batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
        if (h) {
                nftnl_rule_nlmsg_build_payload(h, r->rule);
                nft_message_end(r->batch, h, "rule in", r->chain);
        }
        if (r->rule)
                nftnl_rule_free(r->rule);
        r->rule = NULL;
}

/* A new expression at the rule's end; NULL when the batch has failed. */
static struct nftnl_expr *expression(NftRule *r, const char *name)
{
        struct nftnl_expr *e;

        if (!r || nft_batch_failed(r->batch))
                return NULL;
        e = nftnl_expr_alloc(name);
        if (!e) {
                nft_batch_cancel(r->batch, -ENOMEM);
                return NULL;
        }
        nftnl_rule_add_expr(r->rule, e);
        return e;
}

static void set_u32(struct nftnl_expr *e, uint16_t attribute, uint32_t value)
{
        if (e)
                nftnl_expr_set_u32(e, attribute, value);
}

static void set_str(NftRule *r, struct nftnl_expr *e, uint16_t attribute, const char *value)
{
        if (e && nftnl_expr_set_str(e, attribute, value) < 0)
                nft_batch_cancel(r->batch, -ENOMEM);
}

static uint32_t word_register(uint32_t word)
{
        return NFT_REG32_00 + word;
}

static void load_meta(NftRule *r, uint32_t key, uint32_t word)
{
        struct nftnl_expr *e = expression(r, "meta");

        set_u32(e, NFTNL_EXPR_META_KEY, key);
        set_u32(e, NFTNL_EXPR_META_DREG, word_register(word));
}

static void load_payload(NftRule *r, const FieldSpec *f, uint32_t word)
{
        struct nftnl_expr *e = expression(r, "payload");

        set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, f->key);
        set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, f->offset);
        set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, f->len);
        set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, word_register(word));
}

static struct nftnl_expr *load_ct(NftRule *r, uint32_t key, uint32_t word)
{
        struct nftnl_expr *e = expression(r, "ct");

        set_u32(e, NFTNL_EXPR_CT_KEY, key);
        set_u32(e, NFTNL_EXPR_CT_DREG, word_register(word));
        return e;
}

static void load(NftRule *r, const FieldSpec *f, uint32_t word)
{
        struct nftnl_expr *e;

        switch (f->source) {
        case FROM_META:
                load_meta(r, f->key, word);
                break;
        case FROM_PAYLOAD:
                load_payload(r, f, word);
                break;
        case FROM_CT_ORIGINAL:
                e = load_ct(r, f->key, word);
                if (e)
                        nftnl_expr_set_u8(e, NFTNL_EXPR_CT_DIR, IP_CT_DIR_ORIGINAL);
                break;
        }
}

static void compare(NftRule *r, uint32_t operation, const void *data, uint32_t len)
{
        struct nftnl_expr *e = expression(r, "cmp");

        set_u32(e, NFTNL_EXPR_CMP_SREG, word_register(0));
        set_u32(e, NFTNL_EXPR_CMP_OP, operation);
        if (e)
                nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, data, len);
}

static void mask(NftRule *r, const void *bits, uint32_t len)
{
        static const uint8_t zero[16];
        struct nftnl_expr *e = expression(r, "bitwise");

        set_u32(e, NFTNL_EXPR_BITWISE_SREG, word_register(0));
        set_u32(e, NFTNL_EXPR_BITWISE_DREG, word_register(0));
        set_u32(e, NFTNL_EXPR_BITWISE_LEN, len);
        if (e) {
                nftnl_expr_set(e, NFTNL_EXPR_BITWISE_MASK, bits, len);
                nftnl_expr_set(e, NFTNL_EXPR_BITWISE_XOR, zero, len);
        }
}

/* What must hold before a field may be read; once in a rule is enough. In nft's order. */
static void guard(NftRule *r, const FieldSpec *f)
{
        uint16_t ether = ARPHRD_ETHER;

        if (f->family != 0 && r->family != f->family) {
                load_meta(r, NFT_META_NFPROTO, 0);
                compare(r, NFT_CMP_EQ, &(uint8_t){ f->family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6 },
                        1);
                r->family = f->family;
        }
        if (f->ether && !r->ether) {
                load_meta(r, NFT_META_IIFTYPE, 0);
                compare(r, NFT_CMP_EQ, &ether, sizeof(ether));
                r->ether = true;
        }
        if (f->protocol != 0 && r->protocol != f->protocol) {
                load_meta(r, NFT_META_L4PROTO, 0);
                compare(r, NFT_CMP_EQ, &f->protocol, 1);
                r->protocol = f->protocol;
        }
}

static void lookup(NftRule *r, const NftField *names, const NftSet *set, bool inverted)
{
        struct nftnl_expr *e;
        uint32_t word = 0;

        if (!r)
                return;
        for (unsigned i = 0; i < set->n_types; i++)
                guard(r, &fields[names[i]]);
        for (unsigned i = 0; i < set->n_types; i++) {
                load(r, &fields[names[i]], word);
                word += (fields[names[i]].len + 3) / 4;
        }
        e = expression(r, "lookup");
        set_u32(e, NFTNL_EXPR_LOOKUP_SREG, word_register(0));
        set_str(r, e, NFTNL_EXPR_LOOKUP_SET, set->name);
        if (inverted)
                set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, NFT_LOOKUP_F_INV);
}

void nft_match_in(NftRule *r, const NftField *names, const NftSet *set)
{
        lookup(r, names, set, false);
}

void nft_match_not_in(NftRule *r, const NftField *names, const NftSet *set)
{
        lookup(r, names, set, true);
}

void nft_match_number(NftRule *r, NftField field, uint16_t value)
{
        const FieldSpec *f = &fields[field];
        uint16_t wire = htons(value);

        if (!r)
                return;
        guard(r, f);
        load(r, f, 0);
        if (f->len == 1)
                compare(r, NFT_CMP_EQ, &(uint8_t){ (uint8_t)value }, 1);
        else
                compare(r, NFT_CMP_EQ, &wire, sizeof(wire));
}

void nft_match_ip6_prefix(NftRule *r, NftField field, const uint8_t prefix[static 16],
                          unsigned bits)
{
        uint8_t bitmask[16] = { 0 };

        if (!r)
                return;
        for (unsigned i = 0; i < bits && i < 128; i++)
                bitmask[i / 8] |= (uint8_t)(0x80U >> i % 8);
        guard(r, &fields[field]);
        load(r, &fields[field], 0);
        if (bits < 128)
                mask(r, bitmask, sizeof(bitmask));
        compare(r, NFT_CMP_EQ, prefix, 16);
}

void nft_match_state(NftRule *r, uint32_t states)
{
        uint32_t zero = 0;

        load_ct(r, NFT_CT_STATE, 0);
        mask(r, &states, sizeof(states));
        compare(r, NFT_CMP_NEQ, &zero, sizeof(zero));
}

void nft_match_direction(NftRule *r, NftDirection direction)
{
        uint8_t wanted = direction == NFT_DIRECTION_ORIGINAL ? IP_CT_DIR_ORIGINAL : IP_CT_DIR_REPLY;

        load_ct(r, NFT_CT_DIRECTION, 0);
        compare(r, NFT_CMP_EQ, &wanted, 1);
}

void nft_match_reverse_path_missing(NftRule *r)
{
        struct nftnl_expr *e = expression(r, "fib");
        uint32_t no = 0; /* four bytes: with one, nft lists "missing/8" */

        set_u32(e, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT);
        set_u32(e, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_OIF);
        set_u32(e, NFTNL_EXPR_FIB_DREG, word_register(0));
        compare(r, NFT_CMP_EQ, &no, sizeof(no));
}

void nft_match_not_local(NftRule *r)
{
        struct nftnl_expr *e = expression(r, "fib");
        uint32_t local = RTN_LOCAL;

        set_u32(e, NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_DADDR);
        set_u32(e, NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE);
        set_u32(e, NFTNL_EXPR_FIB_DREG, word_register(0));
        compare(r, NFT_CMP_NEQ, &local, sizeof(local));
}

void nft_rule_count(NftRule *r, const char *counter)
{
        struct nftnl_expr *e = expression(r, "objref");

        set_u32(e, NFTNL_EXPR_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
        set_str(r, e, NFTNL_EXPR_OBJREF_IMM_NAME, counter);
}

void nft_rule_limit(NftRule *r, uint64_t per_second, uint32_t burst)
{
        struct nftnl_expr *e = expression(r, "limit");

        if (!e)
                return;
        nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, per_second);
        nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, 1);
        nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_BURST, burst);
        nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
}

void nft_rule_log(NftRule *r, uint16_t group, const char *prefix)
{
        struct nftnl_expr *e = expression(r, "log");

        if (e)
                nftnl_expr_set_u16(e, NFTNL_EXPR_LOG_GROUP, group);
        set_str(r, e, NFTNL_EXPR_LOG_PREFIX, prefix);
}

void nft_rule_masquerade(NftRule *r)
{
        (void)expression(r, "masq");
}

static void verdict(NftRule *r, int code, const char *chain)
{
        struct nftnl_expr *e = expression(r, "immediate");

        set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
        set_u32(e, NFTNL_EXPR_IMM_VERDICT, (uint32_t)code);
        if (chain)
                set_str(r, e, NFTNL_EXPR_IMM_CHAIN, chain);
}

void nft_rule_accept(NftRule *r)
{
        verdict(r, NF_ACCEPT, NULL);
}

void nft_rule_drop(NftRule *r)
{
        verdict(r, NF_DROP, NULL);
}

void nft_rule_return(NftRule *r)
{
        verdict(r, NFT_RETURN, NULL);
}

void nft_rule_goto(NftRule *r, const char *chain)
{
        verdict(r, NFT_GOTO, chain);
}

void nft_rule_jump(NftRule *r, const char *chain)
{
        verdict(r, NFT_JUMP, chain);
}

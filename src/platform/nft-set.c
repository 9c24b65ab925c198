/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Sets and their elements. */
#include <stdio.h> /* libnftnl's headers need FILE */

#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/udata.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "platform/nft-internal.h"

#define TYPE_BITS 6 /* of each field in the type number of a concatenation */

static uint8_t type_len(NftType type)
{
        switch (type) {
        case NFT_TYPE_IPV4:
                return 4;
        case NFT_TYPE_IPV6:
                return 16;
        case NFT_TYPE_ETHER:
                return 6;
        case NFT_TYPE_PROTOCOL:
                return 1;
        case NFT_TYPE_PORT:
                return 2;
        case NFT_TYPE_INTERFACE:
                return NFT_INTERFACE_MAX;
        }
        return 0;
}

/* In a concatenation each field is padded to whole registers; a lone key is not. */
static uint32_t padded(uint32_t len)
{
        return (len + 3U) & ~3U;
}

static uint32_t key_len(const NftSet *set)
{
        uint32_t len = 0;

        if (set->n_types == 1)
                return type_len(set->types[0]);
        for (unsigned i = 0; i < set->n_types; i++)
                len += padded(type_len(set->types[i]));
        return len;
}

static void key_append(NftKey *k, const void *data, size_t len)
{
        size_t room = padded((uint32_t)len);

        if (k->len + room > sizeof(k->data)) { /* stays too long for any set: add_element() */
                k->len = sizeof(k->data) + 1;
                return;
        }
        memset(k->data + k->len, 0, room);
        memcpy(k->data + k->len, data, len);
        k->len += room;
}

void nft_key_interface(NftKey *k, const char *name)
{
        char field[NFT_INTERFACE_MAX] = { 0 };

        memcpy(field, name, strnlen(name, sizeof(field) - 1));
        key_append(k, field, sizeof(field));
}

void nft_key_ether(NftKey *k, const uint8_t address[static 6])
{
        key_append(k, address, 6);
}

void nft_key_address(NftKey *k, uint8_t family, const uint8_t *address)
{
        key_append(k, address, family == 4 ? 4 : 16);
}

void nft_key_protocol(NftKey *k, uint8_t protocol)
{
        key_append(k, &protocol, sizeof(protocol));
}

void nft_key_port(NftKey *k, uint16_t port)
{
        uint16_t wire = htons(port);

        key_append(k, &wire, sizeof(wire));
}

/* How nft prints the key: 1 in host order, 2 in network order, 0 for concatenations. */
static int set_key_byte_order(struct nftnl_set *s, const NftSet *set)
{
        struct nftnl_udata_buf *u = nftnl_udata_buf_alloc(64);
        uint32_t order = set->n_types > 1 ? 0 : set->types[0] == NFT_TYPE_INTERFACE ? 1 : 2;
        int r;

        if (!u)
                return -ENOMEM;
        nftnl_udata_put_u32(u, NFTNL_UDATA_SET_KEYBYTEORDER, order);
        r = nftnl_set_set_data(s, NFTNL_SET_USERDATA, nftnl_udata_buf_data(u),
                               nftnl_udata_buf_len(u));
        nftnl_udata_buf_free(u);
        return r < 0 ? -ENOMEM : 0;
}

static int set_element_counter(struct nftnl_set *s)
{
        struct nftnl_expr *counter = nftnl_expr_alloc("counter");

        if (!counter)
                return -ENOMEM;
        nftnl_set_add_expr(s, counter);
        return 0;
}

/* A set as a reference: its table and name. */
static struct nftnl_set *set_reference(const Nft *n, const NftSet *set)
{
        struct nftnl_set *s = nftnl_set_alloc();

        if (s && nftnl_set_set_str(s, NFTNL_SET_TABLE, n->table) == 0 &&
            nftnl_set_set_str(s, NFTNL_SET_NAME, set->name) == 0)
                return s;
        if (s)
                nftnl_set_free(s);
        return NULL;
}

static int describe(struct nftnl_set *s, const NftSet *set, uint32_t id)
{
        uint8_t lengths[NFT_FIELDS_MAX] = { 0 };
        uint32_t type = 0, flags = 0;
        int r = 0;

        for (unsigned i = 0; i < set->n_types; i++) {
                type = type << TYPE_BITS | set->types[i];
                lengths[i] = type_len(set->types[i]);
        }
        if (set->interval) { /* with lengths that are not padded */
                flags |= NFT_SET_INTERVAL | NFT_SET_CONCAT;
                r = nftnl_set_set_data(s, NFTNL_SET_DESC_CONCAT, lengths, set->n_types);
        }
        if (set->timeout)
                flags |= NFT_SET_TIMEOUT;
        nftnl_set_set_u32(s, NFTNL_SET_ID, id);
        nftnl_set_set_u32(s, NFTNL_SET_FAMILY, NFPROTO_INET);
        nftnl_set_set_u32(s, NFTNL_SET_FLAGS, flags);
        nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, type);
        nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, key_len(set));
        if (r == 0 && set->counter)
                r = set_element_counter(s);
        return r < 0 ? r : set_key_byte_order(s, set);
}

void nft_add_set(NftBatch *b, const NftSet *set)
{
        struct nlmsghdr *h = nft_message_begin(b, NFT_MSG_NEWSET, NLM_F_CREATE);
        struct nftnl_set *s;

        if (!h)
                return;
        s = set_reference(b->nft, set);
        if (!s || describe(s, set, ++b->sets) < 0) {
                nft_batch_cancel(b, -ENOMEM);
        } else {
                nftnl_set_nlmsg_build_payload(h, s);
                nft_message_end(b, h, "set", set->name);
        }
        if (s)
                nftnl_set_free(s);
}

static int add_element(struct nftnl_set *s, const NftSet *set, const NftElement *e)
{
        uint32_t len = key_len(set);
        struct nftnl_set_elem *out;

        if (e->key.len != padded(len) || (set->interval && e->last.len != padded(len)))
                return -EINVAL; /* the key was not built for this set */
        out = nftnl_set_elem_alloc();
        if (!out)
                return -ENOMEM;
        nftnl_set_elem_add(s, out);
        if (nftnl_set_elem_set(out, NFTNL_SET_ELEM_KEY, e->key.data, len) < 0)
                return -ENOMEM;
        if (set->interval && nftnl_set_elem_set(out, NFTNL_SET_ELEM_KEY_END, e->last.data, len) < 0)
                return -ENOMEM;
        if (e->timeout > 0)
                nftnl_set_elem_set_u64(out, NFTNL_SET_ELEM_TIMEOUT, e->timeout);
        return 0;
}

/* One attribute holds at most 64 KiB: the iterator spreads the elements over messages. */
static void element_messages(NftBatch *b, uint16_t type, uint16_t flags, struct nftnl_set *s)
{
        struct nftnl_set_elems_iter *i = nftnl_set_elems_iter_create(s);
        int more = 1;

        if (!i)
                nft_batch_cancel(b, -ENOMEM);
        while (i && more > 0) {
                struct nlmsghdr *h = nft_message_begin(b, type, flags);

                if (!h)
                        break;
                more = nftnl_set_elems_nlmsg_build_payload_iter(h, i);
                nft_message_end(b, h, "elements of set", nftnl_set_get_str(s, NFTNL_SET_NAME));
        }
        if (i)
                nftnl_set_elems_iter_destroy(i);
}

static void elements(NftBatch *b, uint16_t type, uint16_t flags, const NftSet *set,
                     const NftElement *list, size_t n)
{
        struct nftnl_set *s;
        int r;

        if (nft_batch_failed(b) || n == 0)
                return;
        s = set_reference(b->nft, set);
        r = s ? 0 : -ENOMEM;
        for (size_t i = 0; r == 0 && i < n; i++)
                r = add_element(s, set, &list[i]);
        if (r < 0)
                nft_batch_cancel(b, r);
        else
                element_messages(b, type, flags, s);
        if (s)
                nftnl_set_free(s);
}

void nft_add_elements(NftBatch *b, const NftSet *set, const NftElement *list, size_t n)
{
        elements(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE, set, list, n);
}

void nft_delete_elements(NftBatch *b, const NftSet *set, const NftElement *list, size_t n)
{
        elements(b, NFT_MSG_DELSETELEM, 0, set, list, n);
}

typedef struct ElementReading {
        bool found;
        NftCount count;
        usec_t left;
} ElementReading;

static void read_element(ElementReading *reading, struct nftnl_set_elem *e)
{
        const struct nftnl_expr *counter = NULL;

        if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPR))
                counter = nftnl_set_elem_get(e, NFTNL_SET_ELEM_EXPR, &(uint32_t){ 0 });
        if (counter) {
                reading->count.packets = nftnl_expr_get_u64(counter, NFTNL_EXPR_CTR_PACKETS);
                reading->count.bytes = nftnl_expr_get_u64(counter, NFTNL_EXPR_CTR_BYTES);
        }
        reading->left = USEC_INFINITY;
        if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_EXPIRATION))
                reading->left =
                        nftnl_set_elem_get_u64(e, NFTNL_SET_ELEM_EXPIRATION) * USEC_PER_MSEC;
        reading->found = true;
}

static int parse_element(const struct nlmsghdr *h, void *userdata)
{
        struct nftnl_set *s = nftnl_set_alloc();
        struct nftnl_set_elems_iter *i = NULL;
        struct nftnl_set_elem *e;

        if (!s)
                return MNL_CB_ERROR;
        if (nftnl_set_elems_nlmsg_parse(h, s) == 0)
                i = nftnl_set_elems_iter_create(s);
        e = i ? nftnl_set_elems_iter_next(i) : NULL;
        if (e)
                read_element(userdata, e);
        if (i)
                nftnl_set_elems_iter_destroy(i);
        nftnl_set_free(s);
        return MNL_CB_OK;
}

int nft_read_element(Nft *n, const NftSet *set, const NftElement *element, NftCount *ret,
                     usec_t *ret_left)
{
        char buffer[1024];
        struct nlmsghdr *h =
                nftnl_nlmsg_build_hdr(buffer, NFT_MSG_GETSETELEM, NFPROTO_INET, 0, ++n->sequence);
        struct nftnl_set *s = set_reference(n, set);
        ElementReading reading = { 0 };
        int r;

        if (!s)
                return -ENOMEM;
        r = add_element(s, set, element);
        if (r == 0) {
                nftnl_set_elems_nlmsg_build_payload(h, s);
                r = nft_request(n, h, parse_element, &reading);
        }
        nftnl_set_free(s);
        if (r < 0)
                return r;
        if (!reading.found)
                return -EPROTO;
        *ret = reading.count;
        *ret_left = reading.left;
        return 0;
}

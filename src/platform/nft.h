/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* nftables, one table of ours in the inet family: a small typed layer over libnftnl.
 *
 * All that changes goes through a batch, which the kernel takes whole or not at all. Building a
 * batch has no error paths: what fails (memory, a name that is too long) marks the batch, later
 * calls do nothing, and nft_batch_commit() reports. A commit is done when it returns: the kernel
 * works inside sendmsg(), about 0.1 ms for a few elements. Needs CAP_NET_ADMIN. */

#include "base/time.h"
#include "base/util.h"

typedef struct Nft Nft;
typedef struct NftBatch NftBatch;
typedef struct NftRule NftRule;

/* A netlink socket for the table `table`. */
int nft_open(const char *table, Nft **ret);
Nft *nft_free(Nft *n);
DEFINE_CLEANUP(Nft, nft_free)

/* NULL without memory; the calls below and the commit take a NULL batch as one that failed. */
NftBatch *nft_batch_new(Nft *n);
NftBatch *nft_batch_free(NftBatch *b);
DEFINE_CLEANUP(NftBatch, nft_batch_free)

/* 0, or a negative errno with the object that the kernel refused first ("set open4", "rule in
 * forward") in `ret_culprit`. Silence of the kernel is -EPROTO. The batch is spent either way. */
#define NFT_CULPRIT_MAX 64
int nft_batch_commit(NftBatch *b, char ret_culprit[static NFT_CULPRIT_MAX]);

/* The caller could not go on building: the commit will return `error`. */
void nft_batch_cancel(NftBatch *b, int error);

void nft_add_table(NftBatch *b);
void nft_delete_table(NftBatch *b);
void nft_add_counter(NftBatch *b, const char *name);

typedef enum NftHook {
        NFT_HOOK_PREROUTING,
        NFT_HOOK_INPUT,
        NFT_HOOK_FORWARD,
        NFT_HOOK_POSTROUTING_NAT,
} NftHook;
/* A base chain with policy accept. */
void nft_add_base_chain(NftBatch *b, const char *name, NftHook hook, int priority);
void nft_add_chain(NftBatch *b, const char *name);

/* nft's own numbers for its data types; they stand in no public header of it. */
typedef enum NftType {
        NFT_TYPE_IPV4 = 7,
        NFT_TYPE_IPV6 = 8,
        NFT_TYPE_ETHER = 9,
        NFT_TYPE_PROTOCOL = 12,
        NFT_TYPE_PORT = 13,
        NFT_TYPE_INTERFACE = 41,
} NftType;

#define NFT_FIELDS_MAX    4
#define NFT_INTERFACE_MAX 16 /* with its NUL, as IFNAMSIZ */

typedef struct NftSet {
        const char *name;
        NftType types[NFT_FIELDS_MAX];
        unsigned n_types;
        bool interval; /* elements are ranges; of concatenations alone */
        bool timeout;  /* elements may expire */
        bool counter;  /* each element counts its packets */
} NftSet;
void nft_add_set(NftBatch *b, const NftSet *set);

/* A key is appended field by field, in the order and with the types of its set. */
typedef struct NftKey {
        uint8_t data[64];
        size_t len;
} NftKey;
void nft_key_interface(NftKey *k, const char *name);
void nft_key_ether(NftKey *k, const uint8_t address[static 6]);
/* `family` 4 or 6; network order. */
void nft_key_address(NftKey *k, uint8_t family, const uint8_t *address);
void nft_key_protocol(NftKey *k, uint8_t protocol);
void nft_key_port(NftKey *k, uint16_t port);

typedef struct NftElement {
        NftKey key;
        NftKey last;      /* of interval sets: the end of each field, inclusive */
        uint64_t timeout; /* milliseconds; 0: stays */
} NftElement;

/* Adding what is there, and deleting what is not, are the kernel's to judge: the first is no
 * error and changes nothing, the second is -ENOENT. */
void nft_add_elements(NftBatch *b, const NftSet *set, const NftElement *elements, size_t n);
void nft_delete_elements(NftBatch *b, const NftSet *set, const NftElement *elements, size_t n);

/* What a packet shows. Each brings the guards it needs (IPv4, Ethernet, TCP ...) with it. */
typedef enum NftField {
        NFT_FIELD_IIFNAME,
        NFT_FIELD_OIFNAME,
        NFT_FIELD_ETHER_SADDR,
        NFT_FIELD_IP_SADDR,
        NFT_FIELD_IP_DADDR,
        NFT_FIELD_IP6_SADDR,
        NFT_FIELD_IP6_DADDR,
        NFT_FIELD_L4PROTO,
        NFT_FIELD_TH_SPORT,
        NFT_FIELD_TH_DPORT,
        NFT_FIELD_UDP_SPORT,
        NFT_FIELD_UDP_DPORT,
        NFT_FIELD_ICMP_TYPE,
        NFT_FIELD_ICMPV6_TYPE,
        NFT_FIELD_CT_ORIGINAL_IP_SADDR,
        NFT_FIELD_CT_ORIGINAL_IP6_SADDR,
        NFT_FIELD_CT_ORIGINAL_IP_DADDR,
        NFT_FIELD_CT_ORIGINAL_IP6_DADDR,
        NFT_FIELD_CT_ORIGINAL_PROTOCOL,
        NFT_FIELD_CT_ORIGINAL_DPORT,
        _NFT_FIELD_MAX,
} NftField;
#define NFT_FIELDS(...) ((const NftField[NFT_FIELDS_MAX]){ __VA_ARGS__ })

enum {
        NFT_STATE_INVALID = 1 << 0,
        NFT_STATE_ESTABLISHED = 1 << 1,
        NFT_STATE_RELATED = 1 << 2,
};
typedef enum NftDirection {
        NFT_DIRECTION_ORIGINAL,
        NFT_DIRECTION_REPLY,
} NftDirection;

/* A rule at the end of `chain`: matches and statements in order, then nft_rule_end(). One rule at
 * a time in a batch. Never NULL unless the batch is. */
NftRule *nft_rule_begin(NftBatch *b, const char *chain);
void nft_rule_end(NftRule *r);
/* `fields`: as many as the set has. */
void nft_match_in(NftRule *r, const NftField *fields, const NftSet *set);
void nft_match_not_in(NftRule *r, const NftField *fields, const NftSet *set);
/* Numbers of one or two bytes: protocol, port, ICMP type. */
void nft_match_number(NftRule *r, NftField field, uint16_t value);
void nft_match_ip6_prefix(NftRule *r, NftField field, const uint8_t prefix[static 16],
                          unsigned bits);
void nft_match_state(NftRule *r, uint32_t states);
void nft_match_direction(NftRule *r, NftDirection direction);
/* The source is not reached through the interface that the packet came in by. */
void nft_match_reverse_path_missing(NftRule *r);
/* The destination is no address of this host's own: multicast or broadcast. */
void nft_match_not_local(NftRule *r);
void nft_rule_count(NftRule *r, const char *counter);
void nft_rule_limit(NftRule *r, uint64_t per_second, uint32_t burst);
void nft_rule_log(NftRule *r, uint16_t group, const char *prefix);
void nft_rule_masquerade(NftRule *r);
void nft_rule_accept(NftRule *r);
void nft_rule_drop(NftRule *r);
void nft_rule_return(NftRule *r);
void nft_rule_goto(NftRule *r, const char *chain);
void nft_rule_jump(NftRule *r, const char *chain);

/* The number of the last change that anybody made to any table of this network namespace. */
int nft_read_generation(Nft *n, uint32_t *ret);

/* Reading back. 0, -ENOENT (it is not there, or has expired), or another negative errno. */
typedef struct NftCount {
        uint64_t packets, bytes;
} NftCount;
int nft_read_counter(Nft *n, const char *name, NftCount *ret);
/* `ret_left`: the time until it expires, USEC_INFINITY when it does not. */
int nft_read_element(Nft *n, const NftSet *set, const NftElement *element, NftCount *ret,
                     usec_t *ret_left);

/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The table's chains and rules, line by line as in nft/sallyport.nft, which says why each is
 * where it is. */
#include "daemon/ruleset-internal.h"
#include "daemon/ruleset.h"

#define RULE(chain) for (NftRule *r = nft_rule_begin(b, chain); r; nft_rule_end(r), r = NULL)

#define IN(set, ...) nft_match_in(r, NFT_FIELDS(__VA_ARGS__), &ruleset_sets[set])

#define IIFNAME NFT_FIELD_IIFNAME
#define OIFNAME NFT_FIELD_OIFNAME
#define ETHER   NFT_FIELD_ETHER_SADDR
#define SADDR   NFT_FIELD_IP_SADDR
#define DADDR   NFT_FIELD_IP_DADDR
#define SADDR6  NFT_FIELD_IP6_SADDR
#define DADDR6  NFT_FIELD_IP6_DADDR
#define L4PROTO NFT_FIELD_L4PROTO
#define SPORT   NFT_FIELD_TH_SPORT
#define DPORT   NFT_FIELD_TH_DPORT

#define PRIORITY_RAW    (-300)
#define PRIORITY_FILTER 0
#define PRIORITY_SRCNAT 100

enum {
        ICMP_ECHO = 8,
        ICMPV6_ECHO = 128,
        ICMPV6_ROUTER_SOLICIT = 133,
        ICMPV6_NEIGHBOR_SOLICIT = 135,
        ICMPV6_NEIGHBOR_ADVERT = 136,
        PROTOCOL_ICMP = 1,
        PROTOCOL_ICMPV6 = 58,
};

static void drop(NftRule *r, const char *counter)
{
        nft_rule_count(r, counter);
        nft_rule_drop(r);
}

static void base_chains(NftBatch *b, bool masquerade)
{
        nft_add_base_chain(b, "prerouting", NFT_HOOK_PREROUTING, PRIORITY_RAW);
        nft_add_base_chain(b, "forward", NFT_HOOK_FORWARD, PRIORITY_FILTER);
        nft_add_base_chain(b, "input", NFT_HOOK_INPUT, PRIORITY_FILTER);
        if (masquerade)
                nft_add_base_chain(b, "postrouting", NFT_HOOK_POSTROUTING_NAT, PRIORITY_SRCNAT);
}

static void chains(NftBatch *b)
{
        static const char *const names[] = { "identify",   "own_ether", "from_zone",
                                             "to_zone",    "answer",    "related",
                                             "to_gateway", "refuse",    "denied" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                nft_add_chain(b, names[i]);
}

static void entrances(NftBatch *b, bool masquerade)
{
        static const uint8_t unspecified[16];

        RULE ("prerouting") {
                nft_match_ip6_prefix(r, SADDR6, unspecified, 128);
                nft_rule_accept(r);
        }
        RULE ("prerouting") {
                IN(SET_ZONES, IIFNAME);
                nft_match_reverse_path_missing(r);
                drop(r, "spoofed");
        }
        RULE ("forward") {
                IN(SET_ZONES, IIFNAME);
                nft_rule_goto(r, "from_zone");
        }
        RULE ("forward") {
                IN(SET_ZONES, OIFNAME);
                nft_rule_goto(r, "to_zone");
        }
        RULE ("input") {
                IN(SET_ZONES, IIFNAME);
                nft_rule_goto(r, "to_gateway");
        }
        if (!masquerade)
                return;
        RULE ("postrouting") {
                IN(SET_ZONES, IIFNAME);
                IN(SET_UPLINKS, OIFNAME);
                nft_rule_masquerade(r);
        }
}

/* Somebody else's address. */
static void drop_claimed(NftBatch *b, const char *chain)
{
        RULE (chain) {
                IN(SET_CLAIMED4, SADDR);
                drop(r, "spoofed");
        }
        RULE (chain) {
                IN(SET_CLAIMED6, SADDR6);
                drop(r, "spoofed");
        }
}

static void identify(NftBatch *b)
{
        RULE ("identify") {
                IN(SET_BOUND4, IIFNAME, ETHER, SADDR);
                nft_rule_return(r);
        }
        RULE ("identify") {
                IN(SET_BOUND6, IIFNAME, ETHER, SADDR6);
                nft_rule_return(r);
        }
        RULE ("identify") {
                IN(SET_CLAIMED_ETHER, ETHER);
                nft_rule_goto(r, "own_ether");
        }
        RULE ("identify") {
                IN(SET_PLACED4, IIFNAME, SADDR);
                nft_rule_return(r);
        }
        RULE ("identify") {
                IN(SET_PLACED6, IIFNAME, SADDR6);
                nft_rule_return(r);
        }
        drop_claimed(b, "identify");
}

static void own_ether(NftBatch *b)
{
        static const uint8_t link_local[16] = { 0xfe, 0x80 };

        drop_claimed(b, "own_ether");
        RULE ("own_ether") {
                nft_match_ip6_prefix(r, SADDR6, link_local, 10);
                IN(SET_HOMES, IIFNAME, ETHER);
                nft_rule_return(r);
        }
        RULE ("own_ether") {
                IN(SET_UNADDRESSED, IIFNAME, ETHER);
                nft_rule_return(r);
        }
        RULE ("own_ether") {
                drop(r, "spoofed");
        }
}

static void drop_quarantined_addresses(NftBatch *b, const char *chain, NftField four, NftField six)
{
        RULE (chain) {
                IN(SET_QUARANTINED4, four);
                drop(r, "quarantined");
        }
        RULE (chain) {
                IN(SET_QUARANTINED6, six);
                drop(r, "quarantined");
        }
}

static void drop_quarantined(NftBatch *b, const char *chain)
{
        drop_quarantined_addresses(b, chain, SADDR, SADDR6);
        RULE (chain) {
                IN(SET_QUARANTINED_ETHER, ETHER);
                drop(r, "quarantined");
        }
}

/* `device` and `peer` address, the peer's port. */
static void accept_allowed(NftBatch *b, const char *chain, RulesetSet open,
                           const RulesetSet allowed[static 2], NftField device, NftField peer,
                           NftField port)
{
        for (size_t i = 0; i < 2; i++)
                RULE (chain) {
                        IN(open, device);
                        IN(allowed[i], device, peer, L4PROTO, port);
                        nft_rule_accept(r);
                }
}

static const RulesetSet allowed4[] = { SET_ALLOWED4, SET_ALLOWED4_RANGE };
static const RulesetSet allowed6[] = { SET_ALLOWED6, SET_ALLOWED6_RANGE };

static void refuse_rest(NftBatch *b, const char *chain)
{
        RULE (chain) {
                nft_rule_goto(r, "refuse");
        }
}

static void from_zone(NftBatch *b)
{
        RULE ("from_zone") {
                nft_rule_jump(r, "identify");
        }
        drop_quarantined(b, "from_zone");
        RULE ("from_zone") {
                IN(SET_ZONES, OIFNAME);
                nft_rule_count(r, "lateral");
                nft_rule_goto(r, "denied");
        }
        RULE ("from_zone") {
                nft_match_not_in(r, NFT_FIELDS(OIFNAME), &ruleset_sets[SET_UPLINKS]);
                nft_rule_goto(r, "refuse");
        }
        RULE ("from_zone") {
                nft_match_state(r, NFT_STATE_INVALID);
                drop(r, "invalid");
        }
        accept_allowed(b, "from_zone", SET_OPEN4, allowed4, SADDR, DADDR, DPORT);
        accept_allowed(b, "from_zone", SET_OPEN6, allowed6, SADDR6, DADDR6, DPORT);
        refuse_rest(b, "from_zone");
}

static void to_zone(NftBatch *b)
{
        drop_quarantined_addresses(b, "to_zone", DADDR, DADDR6);
        RULE ("to_zone") {
                nft_match_not_in(r, NFT_FIELDS(IIFNAME), &ruleset_sets[SET_UPLINKS]);
                nft_rule_goto(r, "refuse");
        }
        RULE ("to_zone") {
                nft_match_state(r, NFT_STATE_RELATED);
                nft_rule_goto(r, "related");
        }
        RULE ("to_zone") {
                nft_match_state(r, NFT_STATE_ESTABLISHED);
                nft_rule_goto(r, "answer");
        }
        refuse_rest(b, "to_zone");

        RULE ("answer") {
                nft_match_direction(r, NFT_DIRECTION_ORIGINAL);
                nft_rule_goto(r, "refuse");
        }
        accept_allowed(b, "answer", SET_OPEN4, allowed4, DADDR, SADDR, SPORT);
        accept_allowed(b, "answer", SET_OPEN6, allowed6, DADDR6, SADDR6, SPORT);
        refuse_rest(b, "answer");
}

static void accept_errors(NftBatch *b, uint16_t protocol, RulesetSet open,
                          const RulesetSet allowed[static 2], NftField device, NftField peer)
{
        for (size_t i = 0; i < 2; i++)
                RULE ("related") {
                        nft_match_number(r, L4PROTO, protocol);
                        IN(open, device);
                        IN(allowed[i], device, peer, NFT_FIELD_CT_ORIGINAL_PROTOCOL,
                           NFT_FIELD_CT_ORIGINAL_DPORT);
                        nft_rule_accept(r);
                }
}

static void related(NftBatch *b)
{
        accept_errors(b, PROTOCOL_ICMP, SET_OPEN4, allowed4, NFT_FIELD_CT_ORIGINAL_IP_SADDR,
                      NFT_FIELD_CT_ORIGINAL_IP_DADDR);
        accept_errors(b, PROTOCOL_ICMPV6, SET_OPEN6, allowed6, NFT_FIELD_CT_ORIGINAL_IP6_SADDR,
                      NFT_FIELD_CT_ORIGINAL_IP6_DADDR);
        refuse_rest(b, "related");
}

static void accept_dhcp(NftBatch *b, uint16_t client, uint16_t server)
{
        RULE ("to_gateway") {
                IN(SET_DHCP_ZONES, IIFNAME);
                nft_match_number(r, NFT_FIELD_UDP_SPORT, client);
                nft_match_number(r, NFT_FIELD_UDP_DPORT, server);
                nft_rule_accept(r);
        }
}

static void accept_neighbours(NftBatch *b)
{
        static const uint16_t types[] = { ICMPV6_ROUTER_SOLICIT, ICMPV6_NEIGHBOR_SOLICIT,
                                          ICMPV6_NEIGHBOR_ADVERT };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                RULE ("to_gateway") {
                        nft_match_number(r, NFT_FIELD_ICMPV6_TYPE, types[i]);
                        nft_rule_accept(r);
                }
}

static void accept_ping(NftBatch *b, NftField type, uint16_t echo)
{
        RULE ("to_gateway") {
                IN(SET_PING_ZONES, IIFNAME);
                nft_match_number(r, type, echo);
                nft_rule_limit(r, 20, 20);
                nft_rule_accept(r);
        }
}

static void to_gateway(NftBatch *b)
{
        accept_dhcp(b, 68, 67);
        accept_dhcp(b, 546, 547);
        accept_neighbours(b);
        RULE ("to_gateway") {
                nft_rule_jump(r, "identify");
        }
        RULE ("to_gateway") {
                nft_match_not_local(r);
                nft_rule_goto(r, "refuse");
        }
        RULE ("to_gateway") {
                IN(SET_DOORS, L4PROTO, DPORT);
                nft_rule_accept(r);
        }
        drop_quarantined(b, "to_gateway");
        RULE ("to_gateway") {
                IN(SET_SERVICES, IIFNAME, L4PROTO, DPORT);
                nft_rule_accept(r);
        }
        accept_ping(b, NFT_FIELD_ICMP_TYPE, ICMP_ECHO);
        accept_ping(b, NFT_FIELD_ICMPV6_TYPE, ICMPV6_ECHO);
        RULE ("to_gateway") {
                nft_match_state(r, NFT_STATE_ESTABLISHED);
                nft_match_direction(r, NFT_DIRECTION_REPLY);
                nft_rule_accept(r);
        }
        refuse_rest(b, "to_gateway");
}

static void refuse(NftBatch *b)
{
        RULE ("refuse") {
                nft_rule_count(r, "refused");
                nft_rule_goto(r, "denied");
        }
        RULE ("denied") {
                IN(SET_REFUSED4, SADDR);
        }
        RULE ("denied") {
                IN(SET_REFUSED6, SADDR6);
        }
        RULE ("denied") {
                nft_rule_limit(r, 10, 20);
                nft_rule_log(r, RULESET_LOG_GROUP, "sallyport refused ");
        }
        RULE ("denied") {
                nft_rule_drop(r);
        }
}

void ruleset_rules(NftBatch *b, bool masquerade)
{
        base_chains(b, masquerade);
        chains(b);
        entrances(b, masquerade);
        identify(b);
        own_ether(b);
        from_zone(b);
        to_zone(b);
        related(b);
        to_gateway(b);
        refuse(b);
}

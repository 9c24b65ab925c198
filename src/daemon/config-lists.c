/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How lists, and what a device is known by, are written and read. */
#include <errno.h>
#include <netinet/in.h>

#include "base/str.h"
#include "daemon/config-table.h"
#include "domain/pattern.h"

#define LIST_MAX 256 /* words, addresses or rules of one key */

/* `*items` has room for one more afterwards. */
static int grow(void **items, size_t n, size_t size)
{
        if (n >= LIST_MAX)
                return -ERANGE;
        void *p = reallocarray(*items, n + 1, size);
        if (!p)
                return -ENOMEM;
        *items = p;
        return 0;
}

static void reset_words(void *field)
{
        Words *w = field;
        for (size_t i = 0; i < w->n; i++)
                free(w->words[i]);
        free(w->words);
        *w = (Words){ 0 };
}

static int append_word(Words *w, const char *word)
{
        void *items = w->words;
        int r = grow(&items, w->n + 1, sizeof(char *));
        w->words = items;
        char *copy = r == 0 ? strdup(word) : NULL;
        if (!copy)
                return r < 0 ? r : -ENOMEM;
        w->words[w->n++] = copy;
        w->words[w->n] = NULL;
        return 0;
}

typedef struct Appending {
        Words *words;
        bool (*valid)(const char *word);
        size_t max;
} Appending;

static int take_word(const char *word, void *field)
{
        Appending *a = field;
        if (!a->valid(word))
                return -EINVAL;
        return a->words->n < a->max ? append_word(a->words, word) : -ERANGE;
}

static int append_words(const char *value, bool (*valid)(const char *word), size_t max, Words *ret)
{
        Appending a = { .words = ret, .valid = valid, .max = max };
        size_t before = ret->n;
        int r = config_each_word(value, take_word, &a);
        while (r < 0 && ret->n > before) {
                free(ret->words[--ret->n]);
                ret->words[ret->n] = NULL;
        }
        return r;
}

static bool name_or_address(const char *word)
{
        DeviceAddress a;
        return device_address_parse(word, &a) == 0 || config_host_valid(word, strlen(word));
}

static bool absolute_path(const char *word)
{
        return word[0] == '/';
}

static int parse_words(const ConfigKey *k, const char *value, void *field)
{
        return append_words(value, name_or_address, LIST_MAX, field);
}

static int parse_paths(const ConfigKey *k, const char *value, void *field)
{
        return append_words(value, absolute_path, LIST_MAX, field);
}

static int parse_interfaces(const ConfigKey *k, const char *value, void *field)
{
        return append_words(value, config_interface_valid, LIST_MAX, field);
}

static int parse_topic_filters(const ConfigKey *k, const char *value, void *field)
{
        return append_words(value, pattern_filter_valid, PATTERNS_MAX, field);
}

static int parse_client_ids(const ConfigKey *k, const char *value, void *field)
{
        return append_words(value, pattern_client_id_valid, PATTERNS_MAX, field);
}

const ConfigType config_topic_filters = { "at most 16 topic filters such as hall/+/temp or "
                                          "%z/%d/#, none below cmd, gateway, rats or $",
                                          parse_topic_filters, reset_words, NULL, true };
const ConfigType config_client_ids = { "at most 16 patterns such as %d or %d-*", parse_client_ids,
                                       reset_words, NULL, true };
const ConfigType config_words = { "host names and addresses", parse_words, reset_words, NULL,
                                  true };
const ConfigType config_paths = { "absolute paths", parse_paths, reset_words, NULL, true };
const ConfigType config_interfaces = { "names of network interfaces", parse_interfaces, reset_words,
                                       NULL, true };

static void reset_listens(void *field)
{
        Listens *l = field;
        free(l->addresses);
        *l = (Listens){ 0 };
}

/* PORT, ADDRESS:PORT or [V6]:PORT. */
static int listen_address(const char *word, ListenAddress *ret)
{
        DeviceAddress a = { .family = 6 };
        const char *colon = strrchr(word, ':'), *port_text = colon ? colon + 1 : word;
        char text[64];
        uint32_t port;
        if (parse_u32(port_text, 1, UINT16_MAX, &port) < 0)
                return -EINVAL;
        if (colon) {
                bool v6 = word[0] == '[' && colon > word && colon[-1] == ']';
                size_t len = (size_t)(colon - word) - (v6 ? 2 : 0);
                if (len >= sizeof text)
                        return -EINVAL;
                memcpy(text, word + (v6 ? 1 : 0), len);
                text[len] = '\0';
                if (device_address_parse(text, &a) < 0 || v6 != (a.family == 6))
                        return -EINVAL;
        }
        *ret = (ListenAddress){ .any = !colon };
        if (a.family == 4) {
                struct sockaddr_in *in = (struct sockaddr_in *)&ret->address;
                in->sin_family = AF_INET;
                in->sin_port = htons((uint16_t)port);
                memcpy(&in->sin_addr, a.addr, 4);
        } else {
                struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ret->address;
                in6->sin6_family = AF_INET6;
                in6->sin6_port = htons((uint16_t)port);
                memcpy(&in6->sin6_addr, a.addr, 16);
        }
        return 0;
}

static int take_listen(const char *word, void *field)
{
        Listens *l = field;
        void *items = l->addresses;
        ListenAddress a;
        int r = listen_address(word, &a);
        if (r < 0)
                return r;
        r = grow(&items, l->n, sizeof a);
        l->addresses = items;
        if (r == 0)
                l->addresses[l->n++] = a;
        return r;
}

static int parse_listens(const ConfigKey *k, const char *value, void *field)
{
        Listens *l = field;
        size_t before = l->n;
        int r = config_each_word(value, take_listen, l);
        if (r < 0)
                l->n = before;
        return r;
}

const ConfigType config_listens = { "PORT, ADDRESS:PORT or [IPV6]:PORT", parse_listens,
                                    reset_listens, NULL, true };

static void reset_egress(void *field)
{
        EgressRules *e = field;
        free(e->rules);
        *e = (EgressRules){ 0 };
}

static int take_rule(const char *word, void *field)
{
        EgressRules *e = field;
        void *items = e->rules;
        EgressRule rule;
        int r = egress_rule_parse(word, &rule);
        if (r < 0)
                return r;
        r = grow(&items, e->n_rules, sizeof rule);
        e->rules = items;
        if (r == 0)
                e->rules[e->n_rules++] = rule;
        return r;
}

static int parse_egress(const ConfigKey *k, const char *value, void *field)
{
        EgressRules *e = field;
        size_t before = e->n_rules;
        int r = config_each_word(value, take_rule, e);
        if (r < 0)
                e->n_rules = before;
        return r;
}

const ConfigType config_egress = { "PROTOCOL:NETWORK:PORTS such as tcp:203.0.113.10:443 or "
                                   "udp:[2001:db8::/32]:5000-5100",
                                   parse_egress, reset_egress, NULL, true };

/* What a device is known by; `field` is the Device. */

static void reset_pin(void *field)
{
        Device *d = field;
        d->spki_pinned = false;
        memset(d->spki_sha256, 0, sizeof d->spki_sha256);
}

static int parse_pin(const ConfigKey *k, const char *value, void *field)
{
        Device *d = field;
        if (hex_decode(value, d->spki_sha256, sizeof d->spki_sha256) < 0)
                return -EINVAL;
        d->spki_pinned = true;
        return 0;
}

static void reset_mac(void *field)
{
        Device *d = field;
        d->has_hardware_address = false;
        memset(d->hardware_address, 0, sizeof d->hardware_address);
}

static int parse_mac(const ConfigKey *k, const char *value, void *field)
{
        static const uint8_t zero[6];
        Device *d = field;
        uint8_t mac[6];
        if (strlen(value) != 17 || hex_decode(value, mac, sizeof mac) < 0 || mac[0] & 1 ||
            memcmp(mac, zero, sizeof mac) == 0)
                return -EINVAL;
        memcpy(d->hardware_address, mac, sizeof mac);
        d->has_hardware_address = true;
        return 0;
}

static void reset_addresses(void *field)
{
        Device *d = field;
        d->n_addresses = 0;
}

/* An address that one device can have, in its own family's form. */
static bool unicast(const DeviceAddress *a)
{
        struct in6_addr v6;
        memcpy(&v6, a->addr, sizeof v6);
        if (a->family == 4)
                return a->addr[0] != 0 && a->addr[0] < 224;
        return !IN6_IS_ADDR_UNSPECIFIED(&v6) && !IN6_IS_ADDR_MULTICAST(&v6) &&
               !IN6_IS_ADDR_V4MAPPED(&v6);
}

static int take_address(const char *word, void *field)
{
        Device *d = field;
        DeviceAddress a;
        if (device_address_parse(word, &a) < 0 || !unicast(&a))
                return -EINVAL;
        if (d->n_addresses >= DEVICE_ADDRESSES_MAX)
                return -ERANGE;
        d->addresses[d->n_addresses++] = a;
        return 0;
}

static int parse_addresses(const ConfigKey *k, const char *value, void *field)
{
        Device *d = field;
        size_t before = d->n_addresses;
        int r = config_each_word(value, take_address, d);
        if (r < 0)
                d->n_addresses = before;
        return r;
}

static void reset_instance_id(void *field)
{
        Device *d = field;
        d->has_instance_id = false;
        memset(d->instance_id, 0, sizeof d->instance_id);
}

/* RFC 9783 section 4.2.1: a UEID of type RAND, 0x01 and 32 bytes. */
static int parse_instance_id(const ConfigKey *k, const char *value, void *field)
{
        Device *d = field;
        uint8_t id[33];
        if (hex_decode(value, id, sizeof id) < 0 || id[0] != 0x01)
                return -EINVAL;
        memcpy(d->instance_id, id, sizeof id);
        d->has_instance_id = true;
        return 0;
}

static void reset_psa_client_ids(void *field)
{
        Device *d = field;
        d->n_psa_client_ids = 0;
        memset(d->psa_client_ids, 0, sizeof d->psa_client_ids);
}

/* RFC 9783 section 4.1.2: a signed 32-bit number, and never 0. */
static int parse_psa_client_id(const char *word, int32_t *ret)
{
        bool negative = word[0] == '-';
        uint32_t v;
        if (parse_u32(word + negative, 1, (uint32_t)INT32_MAX + negative, &v) < 0)
                return -EINVAL;
        *ret = (int32_t)(negative ? -(int64_t)v : (int64_t)v);
        return 0;
}

static int take_psa_client_id(const char *word, void *field)
{
        Device *d = field;
        if (d->n_psa_client_ids >= DEVICE_PSA_CLIENT_IDS_MAX)
                return -ERANGE;
        int r = parse_psa_client_id(word, &d->psa_client_ids[d->n_psa_client_ids]);
        if (r == 0)
                d->n_psa_client_ids++;
        return r;
}

static int parse_psa_client_ids(const ConfigKey *k, const char *value, void *field)
{
        Device *d = field, before = *d;
        int r = config_each_word(value, take_psa_client_id, d);
        if (r < 0)
                *d = before; /* with the unused places, which are compared too */
        return r;
}

const ConfigType config_pin = { "a SHA-256 in 64 hexadecimal digits", parse_pin, reset_pin };
const ConfigType config_mac = { "the address of one device such as 02:00:5e:10:00:01", parse_mac,
                                reset_mac };
const ConfigType config_addresses = { "at most 8 IPv4 or IPv6 addresses", parse_addresses,
                                      reset_addresses, NULL, true };
const ConfigType config_instance_id = { "33 bytes in 66 hexadecimal digits, the first of them 01",
                                        parse_instance_id, reset_instance_id };
const ConfigType config_psa_client_ids = { "at most 8 integers other than 0, of 32 bits",
                                           parse_psa_client_ids, reset_psa_client_ids, NULL, true };

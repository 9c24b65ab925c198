/* SPDX-License-Identifier: GPL-3.0-or-later */
/* How single values of the configuration are written and read. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/config-table.h"

/* Text of one kind or another: a char * that is replaced. */

static void reset_string(void *field)
{
        char **s = field;
        free(*s);
        *s = NULL;
}

static int set_string(void *field, const char *value)
{
        char *copy = strdup(value);
        if (!copy)
                return -ENOMEM;
        reset_string(field);
        *(char **)field = copy;
        return 0;
}

static int parse_text(const ConfigKey *k, const char *value, void *field)
{
        return strlen(value) > 255 ? -EINVAL : set_string(field, value);
}

static int parse_path(const ConfigKey *k, const char *value, void *field)
{
        return value[0] != '/' || strlen(value) > 1023 ? -EINVAL : set_string(field, value);
}

static int parse_name(const ConfigKey *k, const char *value, void *field)
{
        return device_name_valid(value) ? set_string(field, value) : -EINVAL;
}

/* Levels between single '/'; nothing that is a wildcard or reserved. */
static int parse_topic(const ConfigKey *k, const char *value, void *field)
{
        size_t len = strlen(value);
        if (len == 0 || len > 255 || strpbrk(value, "+# ") || value[0] == '$' || value[0] == '/' ||
            value[len - 1] == '/' || strstr(value, "//"))
                return -EINVAL;
        return set_string(field, value);
}

static int parse_topic_level(const ConfigKey *k, const char *value, void *field)
{
        return strchr(value, '/') ? -EINVAL : parse_topic(k, value, field);
}

bool config_interface_valid(const char *s)
{
        size_t len = strlen(s);
        return len > 0 && len < 16 && !strpbrk(s, "/: \t") && !streq(s, ".") && !streq(s, "..");
}

static int parse_interface(const ConfigKey *k, const char *value, void *field)
{
        return config_interface_valid(value) ? set_string(field, value) : -EINVAL;
}

/* The path is the protocol's (RFC 7030 section 3.2.2). */
static int parse_server(const ConfigKey *k, const char *value, void *field)
{
        const char *host = startswith(value, "https://");
        size_t len = host ? strcspn(host, "/@?#\\ \t") : 0;
        if (len == 0 || strlen(value) > 255 || (host[len] && !streq(host + len, "/")))
                return -EINVAL;
        return set_string(field, value);
}

static int parse_label(const ConfigKey *k, const char *value, void *field)
{
        return device_name_valid(value) && value[0] != '.' ? set_string(field, value) : -EINVAL;
}

static int parse_url(const ConfigKey *k, const char *value, void *field)
{
        const char *host = startswith(value, "https://");
        if (!host)
                host = startswith(value, "http://");
        if (!host || strcspn(host, "/@?#\\") == 0 || strlen(value) > 1000)
                return -EINVAL;
        for (const char *c = host; *c; c++)
                if (*c <= ' ' || *c > '~' || strchr("@#\\\"<>", *c))
                        return -EINVAL;
        return set_string(field, value);
}

const ConfigType config_url = { "http://HOST/PATH or https://HOST/PATH", parse_url, reset_string };
const ConfigType config_server = { "https://HOST or https://HOST:PORT", parse_server,
                                   reset_string };
const ConfigType config_label = { "a word of 1 to 64 letters, digits, '.', '_' and '-'",
                                  parse_label, reset_string };
const ConfigType config_text = { "text of at most 255 bytes", parse_text, reset_string };
const ConfigType config_path = { "an absolute path", parse_path, reset_string };
const ConfigType config_name = { "a name of 1 to 64 letters, digits, '.', '_' and '-'", parse_name,
                                 reset_string };
const ConfigType config_topic = { "topic levels such as site/hall without '+', '#', '$' and blanks",
                                  parse_topic, reset_string };
const ConfigType config_topic_level = { "a word without '/', '+', '#', '$' and blanks",
                                        parse_topic_level, reset_string };
const ConfigType config_interface = { "the name of a network interface such as eth1.10",
                                      parse_interface, reset_string };

/* HOST, HOST:PORT or [ADDRESS]:PORT, into Settings.upstream. */

typedef __typeof__(((Settings *)NULL)->upstream) Upstream;

static void reset_host_port(void *field)
{
        Upstream *h = field;
        reset_string(&h->host);
}

bool config_host_valid(const char *host, size_t len)
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789.-_";
        return len > 0 && len < 254 && strspn(host, allowed) >= len;
}

/* Splits the port off `value`; `*ret_len` is the length of what is in front of it. */
static int split_port(const char *value, size_t *ret_len, uint16_t *port)
{
        const char *colon = strrchr(value, ':');
        uint32_t v;
        *ret_len = colon ? (size_t)(colon - value) : strlen(value);
        if (!colon)
                return 0;
        if (parse_u32(colon + 1, 1, UINT16_MAX, &v) < 0)
                return -EINVAL;
        *port = (uint16_t)v;
        return 0;
}

static int parse_host_port(const ConfigKey *k, const char *value, void *field)
{
        Upstream *h = field;
        uint16_t port = 8883;
        size_t len;
        _cleanup_free_ char *host = NULL;
        struct in6_addr v6;
        const char *close = value[0] == '[' ? strchr(value, ']') : NULL;
        if (close) {
                size_t none;
                host = bytes_to_str(BYTES(value + 1, (size_t)(close - value) - 1));
                if (!host)
                        return -ENOMEM;
                if (inet_pton(AF_INET6, host, &v6) != 1 ||
                    split_port(close + 1, &none, &port) < 0 || none != 0)
                        return -EINVAL;
        } else {
                if (split_port(value, &len, &port) < 0 || !config_host_valid(value, len))
                        return -EINVAL;
                host = bytes_to_str(BYTES(value, len));
                if (!host)
                        return -ENOMEM;
        }
        reset_string(&h->host);
        h->host = TAKE_PTR(host);
        h->port = port;
        return 0;
}

const ConfigType config_host_port = { "HOST, HOST:PORT or [ADDRESS]:PORT", parse_host_port,
                                      reset_host_port };

/* Words out of a fixed set. */

static int word_index(const char *value, const char *const *words, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (streq(value, words[i]))
                        return (int)i;
        return -EINVAL;
}

static void reset_int(void *field)
{
        *(int *)field = 0;
}

static int parse_level(const ConfigKey *k, const char *value, void *field)
{
        int level = log_level_from_string(value);
        if (level < 0)
                return -EINVAL;
        *(int *)field = level;
        return 0;
}

/* Into a field that is an enum. */
static int set_word(const char *value, const char *const *words, size_t n, void *field)
{
        int i = word_index(value, words, n);
        if (i < 0)
                return -EINVAL;
        *(int *)field = i;
        return 0;
}

static int parse_tls_key(const ConfigKey *k, const char *value, void *field)
{
        static const char *const words[_TLS_KEY_MAX] = {
                [TLS_KEY_AUTO] = "auto",
                [TLS_KEY_MINTED] = "minted",
                [TLS_KEY_TPM] = "tpm",
        };
        return set_word(value, words, ELEMENTSOF(words), field);
}

static int parse_tls_minimum(const ConfigKey *k, const char *value, void *field)
{
        static const char *const words[_TLS_MINIMUM_MAX] = {
                [TLS_MINIMUM_1_2] = "1.2",
                [TLS_MINIMUM_1_3] = "1.3",
        };
        return set_word(value, words, ELEMENTSOF(words), field);
}

static int parse_passwords(const ConfigKey *k, const char *value, void *field)
{
        static const char *const words[_PASSWORDS_MAX] = {
                [PASSWORDS_REFUSE] = "refuse",
                [PASSWORDS_IGNORE] = "ignore",
        };
        return set_word(value, words, ELEMENTSOF(words), field);
}

static int parse_attestation(const ConfigKey *k, const char *value, void *field)
{
        static const char *const words[_ATTESTATION_MAX] = {
                [ATTESTATION_NONE] = "none",
                [ATTESTATION_PSA] = "psa",
        };
        return set_word(value, words, ELEMENTSOF(words), field);
}

_Static_assert(sizeof(TlsKeyMode) == sizeof(int) && sizeof(TlsMinimum) == sizeof(int) &&
                       sizeof(AttestationKind) == sizeof(int) &&
                       sizeof(PasswordMode) == sizeof(int),
               "set_word() and reset_int() write an int");

static int parse_boolean(const ConfigKey *k, const char *value, void *field)
{
        return parse_bool(value, field);
}

static void reset_bool(void *field)
{
        *(bool *)field = false;
}

const ConfigType config_level = { "one of debug, info, notice, warning and err", parse_level,
                                  reset_int };
const ConfigType config_tls_key = { "one of auto, minted and tpm", parse_tls_key, reset_int };
const ConfigType config_tls_minimum = { "1.2 or 1.3", parse_tls_minimum, reset_int };
const ConfigType config_passwords = { "refuse or ignore", parse_passwords, reset_int };
const ConfigType config_attestation = { "none or psa", parse_attestation, reset_int };
const ConfigType config_boolean = { "yes or no", parse_boolean, reset_bool };

/* Numbers with bounds. */

static void reset_u32(void *field)
{
        *(uint32_t *)field = 0;
}

static void reset_u64(void *field)
{
        *(uint64_t *)field = 0;
}

static int parse_number(const ConfigKey *k, const char *value, void *field)
{
        return parse_u32(value, (uint32_t)k->min, (uint32_t)k->max, field);
}

static void print_number(uint64_t bound, char *ret, size_t size)
{
        snprintf(ret, size, "%" PRIu64, bound);
}

static int parse_bytes64(const ConfigKey *k, const char *value, void *field)
{
        uint64_t v;
        int r = parse_size(value, &v);
        if (r < 0)
                return r;
        if (v < k->min || v > k->max)
                return -ERANGE;
        *(uint64_t *)field = v;
        return 0;
}

static int parse_bytes32(const ConfigKey *k, const char *value, void *field)
{
        uint64_t v;
        int r = parse_bytes64(k, value, &v);
        if (r == 0)
                *(uint32_t *)field = (uint32_t)v;
        return r;
}

static void print_bytes(uint64_t bound, char *ret, size_t size)
{
        static const char units[] = "KMGT";
        int i = -1;
        for (; bound >= 1024 && bound % 1024 == 0 && i < 3; i++)
                bound /= 1024;
        snprintf(ret, size, "%" PRIu64 "%.1s", bound, i < 0 ? "" : &units[i]);
}

static int parse_span(const ConfigKey *k, const char *value, void *field)
{
        usec_t t;
        int r = parse_usec(value, &t);
        if (r < 0)
                return r;
        if (t < k->min || t > k->max)
                return -ERANGE;
        *(usec_t *)field = t;
        return 0;
}

static int parse_seconds(const ConfigKey *k, const char *value, void *field)
{
        usec_t t;
        int r = parse_span(k, value, &t);
        if (r == 0 && t % USEC_PER_SEC != 0)
                return -EINVAL;
        if (r == 0)
                *(usec_t *)field = t;
        return r;
}

static void print_span(uint64_t bound, char *ret, size_t size)
{
        char text[USEC_FORMAT_MAX];
        snprintf(ret, size, "%s", usec_format_span(bound, text));
}

const ConfigType config_number = { "a number", parse_number, reset_u32, print_number };
const ConfigType config_bytes32 = { "a size such as 4096, 64K or 16M", parse_bytes32, reset_u32,
                                    print_bytes };
const ConfigType config_bytes64 = { "a size such as 4096, 64K or 16M", parse_bytes64, reset_u64,
                                    print_bytes };
const ConfigType config_span = { "a time span such as 90s or 15min", parse_span, reset_u64,
                                 print_span };
const ConfigType config_seconds = { "a time span of whole seconds such as 90s or 15min",
                                    parse_seconds, reset_u64, print_span };

/* Lists of words. */

int config_each_word(const char *value, int (*take)(const char *word, void *field), void *field)
{
        for (;;) {
                _cleanup_free_ char *word = NULL;
                int r = next_word(&value, &word);
                if (r <= 0 || (r = take(word, field)) < 0)
                        return r;
        }
}

static void reset_unsigned(void *field)
{
        *(unsigned *)field = 0;
}

static int take_pcr(const char *word, void *field)
{
        uint32_t pcr;
        if (parse_u32(word, 0, 23, &pcr) < 0)
                return -EINVAL;
        *(uint32_t *)field |= UINT32_C(1) << pcr;
        return 0;
}

static int parse_pcrs(const ConfigKey *k, const char *value, void *field)
{
        uint32_t mask = 0;
        int r = config_each_word(value, take_pcr, &mask);
        if (r == 0)
                *(uint32_t *)field = mask;
        return r;
}

/* Words out of a fixed set, as bits. */
typedef struct Flags {
        const char *const *words;
        size_t n;
        unsigned mask;
} Flags;

static int take_flag(const char *word, void *field)
{
        Flags *f = field;
        int i = word_index(word, f->words, f->n);
        if (i < 0)
                return -EINVAL;
        f->mask |= 1U << i;
        return 0;
}

/* Adds the words of `value` to the bits of `field`. */
static int parse_flags(const char *value, const char *const *words, size_t n, void *field)
{
        Flags f = { .words = words, .n = n };
        int r = config_each_word(value, take_flag, &f);
        if (r == 0)
                *(unsigned *)field |= f.mask;
        return r;
}

static int parse_services(const ConfigKey *k, const char *value, void *field)
{
        static const char *const words[] = { "dhcp", "dns", "ntp", "ping" };
        _Static_assert(ZONE_SERVICE_DHCP == 1 && ZONE_SERVICE_DNS == 2 && ZONE_SERVICE_NTP == 4 &&
                               ZONE_SERVICE_PING == 8,
                       "the words stand in the order of the bits");
        return parse_flags(value, words, ELEMENTSOF(words), field);
}

static int parse_postures(const ConfigKey *k, const char *value, void *field)
{
        const char *words[_POSTURE_MAX];
        for (int p = 0; p < _POSTURE_MAX; p++)
                words[p] = posture_to_string((Posture)p);
        return parse_flags(value, words, _POSTURE_MAX, field);
}

const ConfigType config_pcrs = { "numbers of PCRs from 0 to 23", parse_pcrs, reset_u32 };
const ConfigType config_services = { "words out of dhcp, dns, ntp and ping", parse_services,
                                     reset_unsigned, NULL, true };
const ConfigType config_postures = { "words out of unattested, affirming, warning and "
                                     "contraindicated",
                                     parse_postures, reset_unsigned, NULL, true };

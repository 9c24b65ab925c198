/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/san.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>

#define DNS_NAME_MAX 253

/* RFC 1123 section 2.1 and underscores; a wildcard makes no sense for one machine. */
static bool is_dns_name(const char *s)
{
        size_t label = 0, len = strlen(s);
        if (len == 0 || len > DNS_NAME_MAX)
                return false;
        for (size_t i = 0; i < len; i++) {
                if (s[i] == '.') {
                        if (label == 0 || s[i - 1] == '-')
                                return false;
                        label = 0;
                } else if (isalnum((unsigned char)s[i]) || s[i] == '_' ||
                           (s[i] == '-' && label > 0)) {
                        if (++label > 63)
                                return false;
                } else {
                        return false;
                }
        }
        return label > 0 && s[len - 1] != '-';
}

static GENERAL_NAME *general_name(const char *name)
{
        uint8_t address[sizeof(struct in6_addr)];
        int type = GEN_IPADD;
        size_t len = sizeof(struct in6_addr);
        const void *data = address;
        if (inet_pton(AF_INET, name, address) == 1) {
                len = sizeof(struct in_addr);
        } else if (inet_pton(AF_INET6, name, address) != 1) {
                type = GEN_DNS;
                data = name;
                len = strlen(name);
        }
        ASN1_STRING *s =
                ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING);
        GENERAL_NAME *n = GENERAL_NAME_new();
        if (!s || !n || ASN1_STRING_set(s, data, (int)len) != 1) {
                ASN1_STRING_free(s);
                GENERAL_NAME_free(n);
                return NULL;
        }
        GENERAL_NAME_set0_value(n, type, s);
        return n;
}

int san_new(const char *const *names, size_t n, GENERAL_NAMES **ret, Reason *reason)
{
        _cleanup_(GENERAL_NAMES_freep) GENERAL_NAMES *list = sk_GENERAL_NAME_new_null();
        for (size_t i = 0; i < n; i++) {
                uint8_t address[sizeof(struct in6_addr)];
                if (inet_pton(AF_INET, names[i], address) != 1 &&
                    inet_pton(AF_INET6, names[i], address) != 1 && !is_dns_name(names[i]))
                        return reason_set(reason, -EINVAL,
                                          "\"%s\" is no DNS name and no IP address", names[i]);
                GENERAL_NAME *name = general_name(names[i]);
                if (!list || !name || sk_GENERAL_NAME_push(list, name) == 0) {
                        GENERAL_NAME_free(name);
                        return reason_set(reason, -ENOMEM, "Out of memory");
                }
        }
        *ret = TAKE_PTR(list);
        return 0;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "options.h"

#include <arpa/inet.h>
#include <err.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <string.h>

#include "base/str.h"

uint32_t option_number(const char *s, uint32_t min, uint32_t max)
{
        uint32_t n;
        if (parse_u32(s, min, max, &n) < 0)
                errx(2, "\"%s\" is no number from %u to %u", s, min, max);
        return n;
}

static FILE *open_file(const char *stem, const char *suffix)
{
        char path[512];
        snprintf(path, sizeof(path), "%s%s", stem, suffix);
        FILE *f = fopen(path, "re");
        if (!f)
                err(2, "%s", path);
        return f;
}

void option_pair(const char *stem, X509 **ret, EVP_PKEY **ret_key)
{
        FILE *certificate = open_file(stem, ".pem"), *key = open_file(stem, ".key");
        *ret = PEM_read_X509(certificate, NULL, NULL, NULL);
        *ret_key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
        fclose(certificate);
        fclose(key);
        if (!*ret || !*ret_key)
                errx(2, "%s: no certificate with its key", stem);
}

uint32_t option_source(const char *s)
{
        struct in_addr a;
        if (inet_pton(AF_INET, s, &a) != 1)
                errx(2, "\"%s\" is no IPv4 address", s);
        return ntohl(a.s_addr);
}

void option_target(LoadParams *p, const char *text)
{
        struct sockaddr_in *to = (struct sockaddr_in *)&p->to;
        char address[64];
        const char *colon = strrchr(text, ':');
        if (!colon || (size_t)(colon - text) >= sizeof(address))
                errx(2, "\"%s\" is no ADDRESS:PORT", text);
        snprintf(address, sizeof(address), "%.*s", (int)(colon - text), text);
        to->sin_family = AF_INET;
        to->sin_port = htons((uint16_t)option_number(colon + 1, 1, UINT16_MAX));
        if (inet_pton(AF_INET, address, &to->sin_addr) != 1)
                errx(2, "\"%s\" is no IPv4 address", address);
        p->to_len = sizeof(*to);
        if (!p->host && !(p->host = strdup(address)))
                err(2, "cannot begin");
}

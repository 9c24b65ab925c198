/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/pcr-values.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "platform/file.h"

/* `text` is a number and, behind `separator` and blanks, a value with or without "0x". */
static int parse(const char *text, char separator, PcrValues *ret)
{
        char number[4] = "";
        uint32_t pcr;
        size_t len = strspn(text, "0123456789");
        if (len == 0 || len >= sizeof(number))
                return -EINVAL;
        memcpy(number, text, len);
        text += len;
        text += strspn(text, " \t");
        if (*text != separator)
                return -EINVAL;
        text++;
        text += strspn(text, " \t");
        const char *digits = startswith(text, "0x");
        if (parse_u32(number, 0, POLICY_PCR_COUNT - 1, &pcr) < 0 || ret->mask & 1U << pcr ||
            hex_decode(digits ? digits : text, ret->values[pcr], POLICY_DIGEST_SIZE) < 0)
                return -EINVAL;
        ret->mask |= 1U << pcr;
        return 0;
}

int pcr_values_take(const char *argument, GivenPcrs *pcrs, Reason *reason)
{
        if (parse(argument, '=', &pcrs->named) == 0)
                return 0;
        return reason_set(reason, -EINVAL,
                          "\"%s\" is no PCR and its SHA-256 value, such as 7=64 hex digits, given "
                          "once",
                          argument);
}

/* The head of a bank: "sha256:" alone on its line. */
static bool is_bank(const char *line)
{
        size_t len = strlen(line);
        return len > 1 && line[len - 1] == ':' && isalpha((unsigned char)line[0]);
}

static char *strip(char *line)
{
        line += strspn(line, " \t");
        for (size_t len = strlen(line); len > 0 && isspace((unsigned char)line[len - 1]); len--)
                line[len - 1] = 0;
        return line;
}

static int read_lines(char *text, const char *path, PcrValues *ret, Reason *reason)
{
        bool ours = true; /* a file without banks tells of SHA-256 */
        unsigned number = 0;
        for (char *raw; (raw = strsep(&text, "\n"));) {
                const char *line = strip(raw);
                number++;
                if (!*line || *line == '#')
                        continue;
                if (is_bank(line))
                        ours = streq(line, "sha256:");
                else if (ours && parse(line, ':', ret) < 0 && parse(line, '=', ret) < 0)
                        return reason_set(
                                reason, -EBADMSG,
                                "%s:%u: this is no PCR and its SHA-256 value, or that PCR "
                                "stands there twice",
                                path, number);
        }
        return ret->mask != 0 ? 0
                              : reason_set(reason, -EBADMSG, "%s: there is no SHA-256 PCR", path);
}

int pcr_values_read(const char *path, GivenPcrs *pcrs, Reason *reason)
{
        _cleanup_free_ uint8_t *text = NULL;
        PcrValues listed = { 0 };
        size_t len;
        int r = file_read(path, POLICY_FILE_MAX, &text, &len);
        if (r < 0)
                return reason_set(reason, r, "Cannot read %s: %s", path, strerror(-r));
        if (strlen((char *)text) != len)
                return reason_set(reason, -EBADMSG, "%s is no text", path);
        r = read_lines((char *)text, path, &listed, reason);
        if (r == 0)
                pcrs->listed = listed;
        return r;
}

int pcr_values_put(const GivenPcrs *given, PcrValues *pcrs, Reason *reason)
{
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                bool named = given->named.mask & 1U << i, ours = pcrs->mask & 1U << i;
                if (named && !ours)
                        return reason_set(reason, -EINVAL,
                                          "PCR %u is not one of this identity's PCRs", i);
                const PcrValues *from = named ? &given->named : &given->listed;
                if (ours && from->mask & 1U << i)
                        memcpy(pcrs->values[i], from->values[i], POLICY_DIGEST_SIZE);
        }
        return 0;
}

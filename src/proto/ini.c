/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/ini.h"

#include "base/str.h"

void ini_start(IniReader *r, Bytes content)
{
        r->rest = content;
        r->line = 0;
}

static bool blank(uint8_t c)
{
        return c == ' ' || c == '\t' || c == '\r';
}

static Bytes trimmed(Bytes b)
{
        while (b.len > 0 && blank(b.data[0]))
                b = BYTES(b.data + 1, b.len - 1);
        while (b.len > 0 && blank(b.data[b.len - 1]))
                b.len--;
        return b;
}

static bool is_comment(Bytes line)
{
        return line.len > 0 && (line.data[0] == '#' || line.data[0] == ';');
}

/* The next physical line without its end and the blanks around it. */
static Bytes take_line(IniReader *r)
{
        const uint8_t *end = memchr(r->rest.data, '\n', r->rest.len);
        size_t len = end ? (size_t)(end - r->rest.data) : r->rest.len;
        Bytes line = BYTES(r->rest.data, len);
        size_t used = len + (end ? 1 : 0);
        r->rest = BYTES(r->rest.data + used, r->rest.len - used);
        r->line++;
        return trimmed(line);
}

static const char *check_characters(Bytes line)
{
        for (size_t i = 0; i < line.len; i++)
                if ((line.data[i] < 0x20 && line.data[i] != '\t') || line.data[i] == 0x7f)
                        return "it holds a control character";
        return utf8_valid(line) ? NULL : "it is not UTF-8";
}

/* Joins the line and those that continue it in r->text. All of them are consumed even when
 * something is wrong: what follows a bad line is not taken for a line of its own. */
static const char *join(IniReader *r, Bytes line)
{
        const char *wrong = check_characters(line);
        size_t len = 0;
        for (;;) {
                bool more = line.len > 0 && line.data[line.len - 1] == '\\';
                if (more)
                        line = trimmed(BYTES(line.data, line.len - 1));
                if (!wrong && line.len > INI_LINE_MAX - len)
                        wrong = "it is longer than 4096 bytes";
                if (!wrong && line.len > 0) {
                        memcpy(r->text + len, line.data, line.len);
                        len += line.len;
                }
                if (!more)
                        break;
                if (!wrong && len > 0 && len < INI_LINE_MAX)
                        r->text[len++] = ' ';
                do {
                        if (r->rest.len == 0)
                                return wrong ? wrong : "it goes on beyond the end of the file";
                        line = take_line(r);
                } while (is_comment(line));
                if (!wrong)
                        wrong = check_characters(line);
        }
        r->text[len] = '\0';
        return wrong;
}

static IniItem wrong_line(unsigned line, const char *text)
{
        return (IniItem){ .kind = INI_WRONG, .line = line, .text = text };
}

static IniItem section(char *text, unsigned line)
{
        size_t len = strlen(text);
        if (text[len - 1] != ']')
                return (IniItem){ .kind = INI_WRONG,
                                  .line = line,
                                  .heading = true,
                                  .text = "a section heading ends with ']'" };
        text[len - 1] = '\0';
        return (IniItem){ .kind = INI_SECTION, .line = line, .text = text + 1 };
}

/* Cuts blanks off the end of what ends at `end`. */
static void cut(const char *start, char *end)
{
        while (end > start && blank((uint8_t)end[-1]))
                end--;
        *end = '\0';
}

static IniItem assignment(char *text, unsigned line)
{
        char *equals = strchr(text, '=');
        if (!equals || equals == text)
                return wrong_line(line, "expected [Section], Key=value or a comment");
        char *value = equals + 1 + strspn(equals + 1, " \t");
        cut(text, equals);
        cut(value, value + strlen(value));
        return (IniItem){ .kind = INI_ASSIGNMENT, .line = line, .key = text, .text = value };
}

IniItem ini_next(IniReader *r)
{
        while (r->rest.len > 0) {
                Bytes line = take_line(r);
                unsigned number = r->line;
                if (line.len == 0 || is_comment(line))
                        continue;
                const char *wrong = join(r, line);
                if (wrong)
                        return wrong_line(number, wrong);
                if (r->text[0] == '[')
                        return section(r->text, number);
                return assignment(r->text, number);
        }
        return (IniItem){ .kind = INI_END, .line = r->line };
}

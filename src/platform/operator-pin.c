/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/operator-pin.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "platform/file.h"
#include "platform/terminal.h"

#define PIN_FILE_MAX ((size_t)4096)

static int take(const char *text, size_t len, OperatorPin *ret, Reason *reason)
{
        if (len == 0 || len > OPERATOR_PIN_MAX)
                return reason_set(reason, -EINVAL, "A PIN has 1 to %d characters",
                                  OPERATOR_PIN_MAX);
        memcpy(ret->text, text, len);
        ret->text[len] = 0;
        ret->len = len;
        ret->known = true;
        return 0;
}

/* "file:/path" and "file:///path" are the same file (RFC 8089 appendix B). */
static const char *path_of(const char *source)
{
        const char *path = startswith(source, "file:");
        if (!path)
                return source[0] == '/' ? source : NULL;
        return startswith(path, "///") ? path + 2 : startswith(path, "//") ? NULL : path;
}

static int from_file(const char *source, OperatorPin *ret, Reason *reason)
{
        const char *path = path_of(source);
        _cleanup_free_ uint8_t *text = NULL;
        size_t len;
        if (isempty(path))
                return reason_set(reason, -EINVAL,
                                  "The URI's pin-source names no file, such as file:/path");
        int r = file_read(path, PIN_FILE_MAX, &text, &len);
        if (r < 0)
                return reason_set(reason, r, "Cannot read the PIN in %s: %s", path, strerror(-r));
        r = take((const char *)text, strcspn((const char *)text, "\r\n"), ret, reason);
        explicit_bzero(text, len);
        return r;
}

static int from_terminal(const char *question, OperatorPin *ret, Reason *reason)
{
        char answer[OPERATOR_PIN_MAX + 1];
        int r = terminal_ask_secret(question, answer, sizeof(answer));
        if (r == -ENOTTY)
                return reason_set(reason, r,
                                  "The token wants a PIN, and there is no terminal to ask for it: "
                                  "name a file with pin-source=file:/path in the URI");
        if (r == -ECANCELED)
                return reason_set(reason, r, "No PIN was given");
        if (r == 0 || r == -EMSGSIZE)
                r = take(answer, r == 0 ? strlen(answer) : sizeof(answer), ret, reason);
        else
                reason_set(reason, r, "Cannot ask for the PIN: %s", strerror(-r));
        explicit_bzero(answer, sizeof(answer));
        return r;
}

int operator_pin_get(const char *value, const char *source, const char *question, OperatorPin *ret,
                     Reason *reason)
{
        if (value && source)
                return reason_set(reason, -EINVAL, "The URI has both pin-value and pin-source");
        if (value)
                return take(value, strlen(value), ret, reason);
        return source ? from_file(source, ret, reason) : from_terminal(question, ret, reason);
}

void operator_pin_wipe(OperatorPin *pin)
{
        explicit_bzero(pin, sizeof(*pin));
}

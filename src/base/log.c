/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/str.h"

#define LOG_MESSAGE_MAX 2048
#define LOG_VALUE_MAX   1024
#define LOG_LINE_MAX    (16 * 1024)

static const char *const level_names[] = {
        [LOG_EMERG] = "emerg", [LOG_ALERT] = "alert",     [LOG_CRIT] = "crit",
        [LOG_ERR] = "err",     [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice",
        [LOG_INFO] = "info",   [LOG_DEBUG] = "debug",
};

static void sink_stderr(int level, const LogField *fields, const char *message, void *userdata);

/* Threads log too: the store's. The lock covers the sink while it runs. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LogSink the_sink = sink_stderr;
static void *the_sink_userdata;
static atomic_int max_level = LOG_INFO;

void log_set_sink(LogSink sink, void *userdata)
{
        pthread_mutex_lock(&lock);
        the_sink = sink ? sink : sink_stderr;
        the_sink_userdata = userdata;
        pthread_mutex_unlock(&lock);
}

void log_set_max_level(int level)
{
        max_level = level;
}

bool log_enabled(int level)
{
        return level <= max_level;
}

int log_level_from_string(const char *s)
{
        for (int i = LOG_ERR; i <= LOG_DEBUG; i++)
                if (streq(s, level_names[i]))
                        return i;
        return -EINVAL;
}

/* Quoted where it would not be one word. */
static void append_field(Buf *line, const LogField *f)
{
        _cleanup_free_ char *value = str_escape(bytes_from_str(f->value), LOG_VALUE_MAX);
        if (!value)
                return;
        const char *quote = *value == '\0' || strpbrk(value, " \"") ? "\"" : "";
        buf_printf(line, " %s=%s", f->key, quote);
        for (const char *p = value; *p != '\0'; p++) {
                if (*p == '"')
                        buf_append_u8(line, '\\');
                buf_append_u8(line, (uint8_t)*p);
        }
        buf_printf(line, "%s", quote);
}

/* One write a line, so that lines of several processes do not mix. */
static void sink_stderr(int level, const LogField *fields, const char *message, void *userdata)
{
        _cleanup_buf_ Buf line = BUF_INIT(LOG_LINE_MAX);
        _cleanup_free_ char *text = str_escape(bytes_from_str(message), LOG_MESSAGE_MAX);
        if (buf_printf(&line, "%s: %s", level_names[level], text ? text : "(no memory)") < 0)
                return;
        for (const LogField *f = fields; f && f->key; f++)
                if (f->value)
                        append_field(&line, f);
        buf_append_u8(&line, '\n');
        /* There is nobody left to tell that standard error is gone. */
        ssize_t n = write(STDERR_FILENO, buf_view(&line).data, buf_len(&line));
        (void)n;
}

static void emit(int level, const LogField *fields, const char *message)
{
        pthread_mutex_lock(&lock);
        the_sink(level, fields, message, the_sink_userdata);
        pthread_mutex_unlock(&lock);
}

void log_message(int level, const LogField *fields, const char *format, ...)
{
        if (!log_enabled(level))
                return;
        int saved = errno;
        char message[LOG_MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        emit(level, fields, message);
        errno = saved;
}

int log_message_errno(int level, int error, const LogField *fields, const char *format, ...)
{
        if (!log_enabled(level))
                return error;
        int saved = errno;
        char message[LOG_MESSAGE_MAX], text[128];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);

        size_t len = strlen(message);
        snprintf(message + len, sizeof message - len, ": %s",
                 strerror_r(error < 0 ? -error : error, text, sizeof text));
        emit(level, fields, message);
        errno = saved;
        return error;
}

/* SPDX-License-Identifier: GPL-3.0-or-later */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include "platform/journal.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>

#include "base/log.h"
#include "base/util.h"

#define FIELDS_MAX 16
#define FIELD_SIZE 1024

/* Fields longer than their buffer are cut: all of them are bounded names and sentences of ours. */
static void set_field(struct iovec *iov, char buffer[static FIELD_SIZE], const char *key,
                      const char *value)
{
        int n = snprintf(buffer, FIELD_SIZE, "%s=%s", key, value);
        size_t len = n < 0 ? 0 : MIN((size_t)n, (size_t)FIELD_SIZE - 1);
        *iov = (struct iovec){ .iov_base = buffer, .iov_len = len };
}

static void journal_sink(int level, const LogField *fields, const char *message, void *userdata)
{
        char buffers[FIELDS_MAX][FIELD_SIZE];
        struct iovec iov[FIELDS_MAX];
        char priority[2] = { (char)('0' + level), '\0' };
        int n = 0;
        set_field(&iov[n], buffers[n], "MESSAGE", message);
        n++;
        set_field(&iov[n], buffers[n], "PRIORITY", priority);
        n++;
        for (; fields && fields->key && n < FIELDS_MAX; fields++) {
                if (!fields->value)
                        continue;
                set_field(&iov[n], buffers[n], fields->key, fields->value);
                n++;
        }
        sd_journal_sendv(iov, n);
}

void journal_setup(void)
{
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;
        if (!stream || sscanf(stream, "%llu:%llu", &device, &inode) != 2)
                return;
        if (fstat(STDERR_FILENO, &st) < 0 || st.st_dev != device || st.st_ino != inode)
                return;
        log_set_sink(journal_sink, NULL);
}

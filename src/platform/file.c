/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>

static int read_all(int fd, uint8_t *buf, size_t size, size_t *ret_len)
{
        size_t len = 0;
        while (len < size) {
                ssize_t n = read(fd, buf + len, size - len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                len += (size_t)n;
        }
        *ret_len = len;
        return 0;
}

int file_read(const char *path, size_t max, uint8_t **ret, size_t *ret_len)
{
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;
        _cleanup_free_ uint8_t *buf = malloc(max + 1);
        if (!buf)
                return -ENOMEM;
        size_t len = 0;
        int r = read_all(fd, buf, max + 1, &len);
        if (r < 0)
                return r;
        if (len > max)
                return -EFBIG;
        buf[len] = 0;
        *ret = TAKE_PTR(buf);
        *ret_len = len;
        return 0;
}

static int write_all(int fd, Bytes content)
{
        while (content.len > 0) {
                ssize_t n = write(fd, content.data, content.len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                content = BYTES(content.data + n, content.len - (size_t)n);
        }
        return 0;
}

static int write_durable(const char *path, Bytes content, mode_t mode)
{
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0)
                return -errno;
        int r = write_all(fd, content);
        if (r < 0)
                return r;
        if (fchmod(fd, mode) < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

/* The new name itself has to reach the disk too. */
static int sync_directory_of(const char *path)
{
        _cleanup_free_ char *copy = strdup(path);
        if (!copy)
                return -ENOMEM;
        _cleanup_close_ int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fsync(fd) < 0)
                return -errno;
        return 0;
}

int file_write_atomic(const char *path, Bytes content, mode_t mode)
{
        _cleanup_free_ char *temporary = NULL;
        if (asprintf(&temporary, "%s.%d.tmp", path, (int)getpid()) < 0) {
                temporary = NULL;
                return -ENOMEM;
        }
        unlink(temporary); /* of a process that had our pid and crashed */
        int r = write_durable(temporary, content, mode);
        if (r == 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0) {
                unlink(temporary);
                return r;
        }
        return sync_directory_of(path);
}

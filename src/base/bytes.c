/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/bytes.h"

bool bytes_equal_ct(Bytes a, Bytes b)
{
        if (a.len != b.len)
                return false;
        uint8_t differ = 0;
        for (size_t i = 0; i < a.len; i++)
                differ |= (uint8_t)(a.data[i] ^ b.data[i]);
        return differ == 0;
}

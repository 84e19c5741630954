/* auth.c - the bearer key and who may do without one. */
#include <netinet/in.h>
#include <string.h>
#include "base/err.h"
#include "serve/serve_int.h"

enum { KEY_MAX = 512 };

gram_status gr_key_check(const char *key, gram_err *err)
{
    size_t n = strlen(key);

    if (n == 0 || n >= KEY_MAX)
        return gr_fail(err, GRAM_EARG, "the key has %zu bytes; wanted 1 to %d", n, KEY_MAX - 1);
    if (key[0] == ' ' || key[n - 1] == ' ')
        return gr_fail(err, GRAM_EARG, "the key begins or ends with a blank, which is lost on the way in a header");
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)key[i] < ' ' || key[i] == 0x7f)
            return gr_fail(err, GRAM_EARG, "the key's byte %zu is a control character (a line end, a tab), which a "
                           "header cannot hold; wanted one line", i);
    return GRAM_OK;
}

bool gr_key_equal(const char *key, const char *given)
{
    unsigned char a[KEY_MAX] = { 0 }, b[KEY_MAX] = { 0 };
    size_t na = strlen(key), nb = strlen(given);
    volatile unsigned char differ = na != nb || na > KEY_MAX;

    memcpy(a, key, gr_min(na, KEY_MAX));
    memcpy(b, given, gr_min(nb, KEY_MAX));
    for (size_t i = 0; i < KEY_MAX; i++)
        differ |= a[i] ^ b[i];
    return differ == 0;
}

bool gr_host_is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    if (a->sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
    return false;
}

bool gr_names_loopback(const char *host)
{
    size_t n = host[0] == '[' && strchr(host, ']') ? strcspn(host, "]") + 1 : strcspn(host, ":");

    if (host[n] && host[n] != ':')
        return false;
    return (n == 9 && !strncasecmp(host, "localhost", n)) || (n == 5 && !memcmp(host, "[::1]", n))
        || (!strncmp(host, "127.", 4) && strspn(host, "0123456789.") == n);
}

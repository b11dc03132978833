/* The natural logarithm of a positive, finite, normal number, after FreeBSD's e_log.c:
 *
 * Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved.
 * Developed at SunSoft, a Sun Microsystems, Inc. business. Permission to use, copy, modify, and
 * distribute this software is freely granted, provided that this notice is preserved.
 *
 * It is here because other logarithms round differently, and every strategy of this algorithm, in
 * whatever language, should give the same table.
 */
#ifndef LOG_H
#define LOG_H

#include <stdint.h>

static inline double natural_log(double x)
{
    /* x = 2^k * (1 + f), where 1 + f is from sqrt(2)/2 to sqrt(2). */
    uint64_t bits;
    __builtin_memcpy(&bits, &x, sizeof bits);
    uint32_t high = (uint32_t)(bits >> 32) + (0x3ff00000 - 0x3fe6a09e);
    double k = (int32_t)(high >> 20) - 0x3ff;
    high = (high & 0xfffff) + 0x3fe6a09e;
    bits = (uint64_t)high << 32 | (uint32_t)bits;
    __builtin_memcpy(&x, &bits, sizeof x);
    double f = x - 1;

    /* ln(1 + f) = f - f^2/2 + s * (f^2/2 + R), where R is a polynomial in s = f / (2 + f). */
    double half_square = 0.5 * f * f;
    double s = f / (2 + f);
    double z = s * s;
    double w = z * z;
    double even = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01
                  + w * 1.531383769920937332e-01));
    double odd = z * (6.666666666666735130e-01 + w * (2.857142874366239149e-01
                 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    double r = odd + even;

    /* ln(x) = k * ln(2) + ln(1 + f), with ln(2) in two parts, of which k times the first is exact. */
    return s * (half_square + r) + k * 1.90821492927058770002e-10 - half_square + f
           + k * 6.93147180369123816490e-01;
}

#endif

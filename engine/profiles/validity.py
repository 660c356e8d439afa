"""When a certificate begins and ends to be valid: what was asked for, the defaults, and the limits."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from engine.profiles.faults import must

# UTCTime cannot say more (RFC 5280 section 4.1.2.5.1); GeneralizedTime ends with the year 9999.
_EARLIEST = datetime(1950, 1, 1, tzinfo=UTC)
_LATEST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Validity:
    """Both in UTC and whole seconds; a certificate is valid at both moments themselves."""

    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What a profile says of the length of a life."""

    default: Callable[[datetime], datetime]
    """notBefore → the notAfter of an order that names none."""
    longest: timedelta | None = None
    """The most that notAfter - notBefore may be."""


def plus(moment: datetime, length: timedelta) -> datetime:
    """`moment` + `length`, and never past the last moment a certificate can name."""
    return moment + length if length < _LATEST - moment else _LATEST


def plus_years(moment: datetime, years: int) -> datetime:
    """The same day and time `years` calendar years later; 29 February becomes the 28th where there is none."""
    if moment.year + years > _LATEST.year:
        return _LATEST
    day = 28 if (moment.month, moment.day) == (2, 29) else moment.day
    return moment.replace(year=moment.year + years, day=day)


def choose_validity(
    not_before: datetime | None,
    not_after: datetime | None,
    *,
    now: datetime,
    lifetime: Lifetime,
    issuer: Validity | None,
    faults: list[str],
) -> Validity:
    """Fill in what was not given, cut to whole seconds and check the limits; faults are added to `faults`.

    notBefore is `now` unless given. A notAfter that is not given is the profile's default, and never later than the
    issuer's; one that is given and later than the issuer's is a fault, as is a notBefore before the issuer's.
    """
    known = len(faults)
    begin = whole_seconds("notBefore", now if not_before is None else not_before, faults)
    if not_after is not None:
        end = whole_seconds("notAfter", not_after, faults)
    else:
        end = lifetime.default(begin)
        if issuer is not None and begin < issuer.not_after:
            end = min(end, issuer.not_after)
    if len(faults) > known:
        return Validity(begin, end)  # One of them is no usable time, so comparing them would only mislead.
    if issuer is not None and begin < issuer.not_before:
        faults.append(must("notBefore", f"not be before the issuer's, {_text(issuer.not_before)}", _text(begin)))
    if issuer is not None and begin >= issuer.not_after:
        faults.append(must("notBefore", f"be before the issuer's notAfter, {_text(issuer.not_after)}", _text(begin)))
    elif begin >= end:
        faults.append(must("notAfter", f"be later than notBefore, {_text(begin)}", _text(end)))
    if issuer is not None and not_after is not None and end > issuer.not_after:
        faults.append(must("notAfter", f"not be after the issuer's, {_text(issuer.not_after)}", _text(end)))
    if lifetime.longest is not None and end - begin > lifetime.longest:
        latest = plus(begin, lifetime.longest)
        limit = f"be at most {lifetime.longest.days} days after notBefore, {_text(latest)}"
        faults.append(must("notAfter", limit, _text(end)))
    return Validity(begin, end)


def whole_seconds(member: str, moment: datetime, faults: list[str]) -> datetime:
    """`moment` in UTC without a fraction; one without a zone or before 1950 is a fault."""
    if moment.tzinfo is UTC and not moment.microsecond and moment >= _EARLIEST:
        return moment
    if moment.utcoffset() is None:
        faults.append(must(member, "have a time zone", moment.isoformat()))
        return _EARLIEST
    try:
        utc = moment.astimezone(UTC).replace(microsecond=0)
    except OverflowError:
        utc = datetime.min.replace(tzinfo=UTC)
    if utc < _EARLIEST:
        faults.append(must(member, "be from 1950 to 9999", moment.isoformat()))
        return _EARLIEST
    return utc


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")

"""Language tags: containers speak ISO 639-2 (three letters, two spellings for some), manifests speak BCP 47.

BCP 47 (RFC 5646, section 2.2.1) wants the two-letter code where a language has one; other three-letter codes are
valid as they are.
"""

# ISO 639-1 with its ISO 639-2 codes, the terminological spelling before the bibliographic one.
_TABLE = """
aa:aar ab:abk af:afr ak:aka am:amh ar:ara an:arg as:asm av:ava ae:ave ay:aym az:aze ba:bak be:bel
bg:bul bh:bih bi:bis bm:bam bn:ben bo:bod,tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre
cs:ces,cze cu:chu cv:chv cy:cym,wel da:dan de:deu,ger dv:div dz:dzo ee:ewe el:ell,gre en:eng eo:epo
es:spa et:est eu:eus,baq fa:fas,per ff:ful fi:fin fj:fij fo:fao fr:fra,fre fy:fry ga:gle gd:gla
gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv ht:hat hu:hun hy:hye,arm hz:her
ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl,ice it:ita iu:iku ja:jpn jv:jav ka:kat,geo
kg:kon ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur kv:kom kw:cor ky:kir
la:lat lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lu:lub lv:lav mg:mlg mh:mah mi:mri,mao mk:mkd,mac
ml:mal mn:mon mr:mar ms:msa,may mt:mlt my:mya,bur na:nau nb:nob nd:nde ne:nep ng:ndo nl:nld,dut
nn:nno no:nor nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori os:oss pa:pan pi:pli pl:pol ps:pus
pt:por qu:que rm:roh rn:run ro:ron,rum ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag si:sin
sk:slk,slo sl:slv sm:smo sn:sna so:som sq:sqi,alb sr:srp ss:ssw st:sot su:sun sv:swe sw:swa ta:tam
te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig
uk:ukr ur:urd uz:uzb ve:ven vi:vie vo:vol wa:wln wo:wol xh:xho yi:yid yo:yor za:zha zh:zho,chi
zu:zul
"""
_TWO_LETTERS = {
    long: short for pair in _TABLE.split() for short, longs in [pair.split(":")] for long in longs.split(",")
}
_NO_LANGUAGE = frozenset({"", "und", "mis", "mul", "zxx", "unk", "qaa"})


def bcp47(tag: str | None) -> str | None:
    """The BCP 47 form of a container's language tag (``eng`` and ``en-GB`` are both understood), None for no language."""
    parts = (tag or "").strip().replace("_", "-").split("-")
    primary = parts[0].lower()
    if primary in _NO_LANGUAGE or not all(
        part.isascii() and part.isalnum() and len(part) <= 8 for part in parts
    ):
        return None
    if not (2 <= len(primary) <= 3 and primary.isalpha()):
        return None
    return "-".join([_TWO_LETTERS.get(primary, primary), *parts[1:]])

"""Form fields: which of our fields a label means, in several languages."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_LABELS: dict[str, str] = {
    "name": "name fullname yourname contactname kontakt ansprechpartner vollstandigername nom"
    " nomcomplet nombre nombrecompleto naam volledigenaam vorundnachname vornameundnachname",
    "first_name": "firstname givenname forename vorname prenom voornaam nombredepila fname first",
    "last_name": "lastname surname familyname nachname familienname nomdefamille achternaam"
    " apellido apellidos lname last",
    "email": "email emailaddress mail mailadresse emailadresse youremail contactemail courriel"
    " adressemail correo correoelectronico emailaddresse ihreemail workemail businessemail newemail"
    " neueemail",
    "phone": "phone phonenumber telephone tel telefon telefonnummer mobile mobilenumber mobilephone"
    " cell cellphone handy handynummer mobil rufnummer telefono movil telefoon telefoonnummer"
    " numerodetelephone contactnumber yourphone newphone newphonenumber neuetelefonnummer "
    "daytimephone",
    "company": "company companyname organisation organization business firma firmenname unternehmen"
    " societe entreprise empresa bedrijf bedrijfsnaam employer arbeitgeber",
    "job_title": "jobtitle title position role jobposition beruf funktion rolle poste fonction"
    " cargo puesto functie",
    "address": "address streetaddress street addressline1 adresse strasse strassehausnummer"
    " strasseundhausnummer anschrift rue direccion calle adres straat newaddress neueadresse"
    " siteaddress",
    "city": "city town ort stadt wohnort ville ciudad plaats woonplaats locality",
    "postal_code": "zip zipcode postcode postalcode plz postleitzahl codepostal codigopostal",
    "preferred_channel": "preferredchannel preferredcontact preferredcontactmethod contactmethod"
    " bevorzugterkontaktweg kontaktweg howshouldwecontactyou contactpreference howtoreachyou"
    " moyendecontact preferredmethodofcontact",
    "customer_id": "customerid customernumber customerno kundennummer kundennr clientid accountno"
    " externalid numerodeclient klantnummer",
    "order_number": "ordernumber orderno order orderid auftragsnummer bestellnummer auftragsnr"
    " numerodecommande numerodepedido ordernummer jobnumber",
}
_BY_LABEL = {label: field for field, labels in _LABELS.items() for label in labels.split()}
_ODD = re.compile(r"[^a-z0-9]")


def field_of(label: str) -> str | None:
    """Our name for a form's label: ``E-Mail-Adresse*`` → ``email``; ``None``: it is just text."""
    # Nested names as "contact.email" or "data[email]" mean their last word.
    for text in (label, re.split(r"[.\[\]/]+", label.rstrip("]"))[-1]):
        if found := _BY_LABEL.get(_key(text)):
            return found
    return None


def _key(label: str) -> str:
    decomposed = unicodedata.normalize("NFKD", label.casefold().replace("ß", "ss"))
    return _ODD.sub("", "".join(c for c in decomposed if not unicodedata.combining(c)))


def form_values(parts: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Our field → (part, its text without space around it); the first label of a field counts."""
    found: dict[str, tuple[str, str]] = {}
    for part, text in parts.items():
        field = field_of(part)
        if field is not None and text.strip():
            found.setdefault(field, (part, text.strip()))
    return found

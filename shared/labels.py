"""Labels of form fields, in several languages: which of our fields each of them means."""

from __future__ import annotations

import re
import unicodedata

_LABELS: dict[str, str] = {
    "name": (
        "name fullname yourname contactname kontakt ansprechpartner vollstandigername nom"
        " nomcomplet nombre nombrecompleto naam volledigenaam vorundnachname vornameundnachname"
        " nomeecognome nomecompleto imieinazwisko お名前 氏名 名前"
    ),
    "first_name": (
        "firstname givenname forename vorname prenom voornaam nombredepila nome imie fname first"
    ),
    "last_name": (
        "lastname surname familyname nachname familienname nomdefamille achternaam apellido"
        " apellidos cognome nazwisko lname last"
    ),
    "email": (
        "email emailaddress mail mailadresse emailadresse youremail contactemail courriel"
        " adressemail correo correoelectronico emailaddresse ihreemail indirizzoemail adresemail"
        " postaelettronica メールアドレス メール eメール"
        " emailアドレス workemail businessemail newemail neueemail"
    ),
    "phone": (
        "phone phonenumber telephone tel telefon telefonnummer mobile mobilenumber mobilephone"
        " cell cellphone handy handynummer mobil rufnummer telefono movil telefoon"
        " telefoonnummer numerodetelephone contactnumber yourphone newphone newphonenumber"
        " neuetelefonnummer daytimephone cellulare numeroditelefono numertelefonu telefone 電話番号"
        " 電話 お電話番号"
    ),
    "company": (
        "company companyname organisation organization business firma firmenname unternehmen"
        " societe entreprise empresa bedrijf bedrijfsnaam employer arbeitgeber azienda societa"
        " nazwafirmy 会社名 御社名 companyororganisation"
    ),
    "job_title": (
        "jobtitle title position role jobposition beruf funktion rolle poste fonction cargo"
        " puesto functie"
    ),
    "address": (
        "address streetaddress street addressline1 adresse strasse strassehausnummer"
        " strasseundhausnummer anschrift rue direccion calle adres straat newaddress neueadresse"
        " siteaddress indirizzo ulica street1 住所 ご住所"
    ),
    "city": (
        "city town ort stadt wohnort ville ciudad plaats woonplaats locality citta miasto"
        " miejscowosc"
    ),
    "postal_code": (
        "zip zipcode postcode postalcode plz postleitzahl codepostal codigopostal cap"
        " kodpocztowy 郵便番号"
    ),
    "preferred_channel": (
        "preferredchannel preferredcontact preferredcontactmethod contactmethod"
        " bevorzugterkontaktweg kontaktweg howshouldwecontactyou contactpreference howtoreachyou"
        " moyendecontact preferredmethodofcontact"
    ),
    "customer_id": (
        "customerid customernumber customerno kundennummer kundennr clientid accountno"
        " externalid numerodeclient klantnummer"
    ),
    "order_number": (
        "ordernumber orderno order orderid auftragsnummer bestellnummer auftragsnr"
        " numerodecommande numerodepedido ordernummer jobnumber"
    ),
}
_MESSAGE = (
    "message yourmessage messagebody comments comment enquiry inquiry question questions details"
    " howcanwehelp nachricht ihrenachricht mitteilung kommentar anmerkungen anfrage ihreanfrage"
    " votremessage demande mensaje sumensaje consulta messaggio richiesta bericht uwbericht"
    " opmerkingen wiadomosc tresc trescwiadomosci mensagem メッセージ お問い合わせ内容 内容"
)
_ODD = re.compile(r"[\W_]")


def _key(label: str) -> str:
    decomposed = unicodedata.normalize("NFKD", label.casefold().replace("ß", "ss"))
    return _ODD.sub("", "".join(c for c in decomposed if not unicodedata.combining(c)))


_BY_LABEL = {_key(label): name for name, labels in _LABELS.items() for label in labels.split()}
_MESSAGES = frozenset(map(_key, _MESSAGE.split()))


def field_of(label: str) -> str | None:
    """Our name for a form's label: ``E-Mail-Adresse*`` → ``email``; ``None``: it is just text."""
    # Nested names as "contact.email" or "data[email]" mean their last word.
    for text in (label, re.split(r"[.\[\]/]+", label.rstrip("]"))[-1]):
        if found := _BY_LABEL.get(_key(text)):
            return found
    return None


def is_message_label(label: str) -> bool:
    """Whether a form's label stands before what somebody wants to say."""
    return _key(label) in _MESSAGES

var n=/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu;function r(p){return p.replace(n,t=>`\\u{${t.codePointAt(0).toString(16)}}`)}export{r as a};

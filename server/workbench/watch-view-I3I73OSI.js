import{i as e}from"./chunk-E3H2NVV7.js";function t({params:i}){return e("section",{class:"view",children:[e("h1",{children:"Refinement"}),e("p",{children:i.thread})]})}export{t as default};
